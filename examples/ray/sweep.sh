#!/bin/sh
# Run a small sweep with Ray's launcher in a separate environment, because the launcher needs an older version of
# cloudpickle. docs/clusters.md states how far this has been tested.
set -eu
exec uv run --with hydra-ray-launcher python train.py -m hydra/launcher=ray \
    data=digits trainer.max_epochs=1 logger=none seed=0,1 "$@"
