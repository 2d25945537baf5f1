"""``python -m tl_lab``: see :mod:`tl_lab.cli.main`."""

from tl_lab.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
