"""The layer policy of all strategies: which layer groups are trained, at which learning rates, and from which epoch."""

from collections.abc import Mapping, Sequence
from typing import Literal

from tl_lab.errors import UserError, nearest
from tl_lab.model.mask import Rule
from tl_lab.options import Count, Natural, Positive

__all__ = ["LayerPolicy"]


class LayerPolicy:
    """Choose the trainable layer groups of a backbone, their learning rates, and the epoch at which each starts.

    The k-th group below the top has the learning rate lr * backbone_lr / decay^k; bottleneck, head and adaptation are
    trained at lr. If only ``decay`` is given, the top group has lr / decay, one step below the head, as in ULMFiT. The
    policy usually determines the mask over parameters (:mod:`tl_lab.model.mask`).

    Args:
        trainable: ``all``, ``none``, the number of trained groups from the top, or a list of group names.
        backbone_lr: learning rate of the top group relative to the head's, > 0; None: 1 / decay if decay is above 1,
            else the strategy's default (0.1 for fine-tuning, 1 for the others).
        decay: factor by which the learning rate decreases from each group to the one below it, usually >= 1 (2.6 per
            coarse group in ULMFiT; 1 / 0.75 for the usual layer-wise decay of transformers).
        unfreeze_every: number of epochs after which one more group is unfrozen, from the top; at first, only the layers
            above the backbone are trained. None trains all groups of ``trainable`` from the start.

    Raises:
        UserError: for values out of range.

    References:
        Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, ACL 2018, section 3.
    """

    def __init__(
        self,
        trainable: Literal["all", "none"] | Natural | Sequence[str] = "all",
        backbone_lr: Positive | None = None,
        decay: Positive = 1.0,
        unfreeze_every: Count | None = None,
    ) -> None:
        if isinstance(trainable, str) and trainable not in ("all", "none"):
            raise UserError(
                f"strategy.layers.trainable must be 'all', 'none', a number or a list of names, not {trainable!r}"
            )
        if isinstance(trainable, int) and trainable < 0:
            raise UserError(f"strategy.layers.trainable must be a number of groups >= 0, not {trainable}")
        if (backbone_lr is not None and backbone_lr <= 0) or decay <= 0:
            raise UserError(
                f"strategy.layers.backbone_lr and decay must be above 0, not {backbone_lr} and {decay}; "
                "to freeze layers set strategy.layers.trainable"
            )
        if unfreeze_every is not None and unfreeze_every < 1:
            raise UserError(f"strategy.layers.unfreeze_every must be at least 1 epoch, not {unfreeze_every}")
        self.trainable = trainable if isinstance(trainable, str | int) else tuple(trainable)
        self.backbone_lr, self.decay, self.unfreeze_every = backbone_lr, decay, unfreeze_every

    @property
    def freezes_all(self) -> bool:
        """Whether the backbone is never trained."""
        return self.trainable in ("none", 0, ())

    def chosen(self, groups: Sequence[str]) -> list[str]:
        """Return the names of the groups that are trained at any time.

        Args:
            groups: names of all groups, shallow to deep.

        Returns:
            The chosen names, shallow to deep.

        Raises:
            UserError: for a name that the backbone does not have, or more groups than it has.
        """
        if isinstance(self.trainable, int):
            if self.trainable > len(groups):
                raise UserError(
                    f"strategy.layers.trainable={self.trainable}, but the backbone has {len(groups)} layer groups: "
                    + ", ".join(groups)
                )
            return list(groups[len(groups) - self.trainable :])
        if isinstance(self.trainable, str):
            return list(groups) if self.trainable == "all" else []
        for name in self.trainable:
            if name not in groups:
                raise UserError(f"strategy.layers.trainable: there is no layer group {name!r}; {nearest(name, groups)}")
        return [name for name in groups if name in self.trainable]

    def learning(self, groups: Sequence[str], epoch: int) -> list[str]:
        """Return the names of the groups that are trained in an epoch (counted from 0)."""
        chosen = self.chosen(groups)
        if self.unfreeze_every is None:
            return chosen
        count = min(len(chosen), epoch // self.unfreeze_every)
        return chosen[len(chosen) - count :]

    def shares(self, groups: Sequence[str]) -> dict[str, float]:
        """Return each group's learning rate relative to the head's."""
        top, rate = len(groups) - 1, self._top_rate()
        return {name: rate / self.decay ** (top - i) for i, name in enumerate(groups)}

    def _top_rate(self) -> float:
        if self.backbone_lr is not None:
            return self.backbone_lr
        return 1 / self.decay if self.decay > 1 else 1.0

    def or_rate(self, backbone_lr: float) -> "LayerPolicy":
        """Return this policy with another rate of the top group, unless that was given or follows from the decay."""
        if self.backbone_lr is not None or self.decay > 1:
            return self
        return LayerPolicy(self.trainable, backbone_lr, self.decay, self.unfreeze_every)

    def rules(self, groups: Mapping[str, Sequence[str]]) -> dict[str, Rule]:
        """Return a rule for each parameter of a backbone; parameters of a layer group share one.

        Args:
            groups: names of the parameters of each layer group, groups from shallow to deep.

        Raises:
            UserError: see :meth:`chosen`.
        """
        chosen, shares = self.chosen(list(groups)), self.shares(list(groups))
        places = {name: place for place, name in enumerate(reversed(chosen), start=1)}  # 1: the top
        return {
            parameter: Rule(
                group=f"backbone/{name}",
                learns=name in places,
                share=shares[name],
                starts=places.get(name, 0) * (self.unfreeze_every or 0),
            )
            for name, parameters in groups.items()
            for parameter in parameters
        }

    def __repr__(self) -> str:
        return f"LayerPolicy({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
