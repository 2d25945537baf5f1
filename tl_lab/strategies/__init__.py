"""How a backbone's knowledge is used: one file a strategy."""

from tl_lab.strategies.base import Strategy
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.strategies.fine_tuning import FineTuning
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.strategies.layers import LayerPolicy

__all__ = ["FeatureExtraction", "FineTuning", "FromScratch", "LayerPolicy", "Strategy"]
