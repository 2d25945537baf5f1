"""Run one experiment, or several with ``-m``: ``python train.py --help``."""

from tl_lab.cli.train import main

if __name__ == "__main__":
    main()
