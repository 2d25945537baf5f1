"""Adapters: small sets of parameters that learn in a backbone whose other parameters stand still."""

from tl_lab.adapters.base import Adapter
from tl_lab.adapters.none import NoAdapter

__all__ = ["Adapter", "NoAdapter"]
