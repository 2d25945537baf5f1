#!/bin/sh
# Submit a small sweep to Slurm, one cluster job per run, and wait for its table. Further overrides are passed on:
#
#     sh examples/slurm/sweep.sh hydra.launcher.partition=gpu trainer=gpu
set -eu
exec python train.py -m hydra/launcher=submitit_slurm \
    hydra.launcher.partition=main hydra.launcher.timeout_min=30 hydra.launcher.cpus_per_task=1 \
    data=digits trainer.max_epochs=1 seed=0,1 "$@"
