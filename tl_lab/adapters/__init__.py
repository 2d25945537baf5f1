"""Adapters: small sets of trainable parameters in a backbone whose other parameters are frozen."""

from tl_lab.adapters.base import Adapter
from tl_lab.adapters.none import NoAdapter

__all__ = ["Adapter", "NoAdapter"]
