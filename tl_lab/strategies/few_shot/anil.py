"""Almost no inner loop."""

from tl_lab.strategies.few_shot.maml import MAML

__all__ = ["ANIL"]


class ANIL(MAML):
    """MAML that adapts only the head: the features of an episode do not change in its inner loop.

    References:
        Raghu, Raghu, Bengio and Vinyals, Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of
        MAML, ICLR 2020, section 4. https://arxiv.org/abs/1909.09157
    """

    adapted_parts = ("head",)
