"""Fine-tuning of given weights."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor, nn

from tl_lab.data.base import DataModule
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.options import NonNegative, Positive
from tl_lab.problems import ALL, OF_PLACES
from tl_lab.strategies.base import Strategy
from tl_lab.strategies.linear_probe import probe_of
from tl_lab.training.sharding import load_weights

__all__ = ["FineTuning"]

BACKBONE_RATE = 0.1  # learning rate of the top group relative to the head, without a decay


class L2SPOptions(TypedDict, total=False):
    """Weights of the penalties on the backbone's distance from its start, and on the head."""

    alpha: NonNegative
    beta: NonNegative


class ProbeOptions(TypedDict, total=False):
    """Options of the linear probe from which the head starts."""

    enabled: bool
    inverse_penalty: Sequence[Positive]


class FineTuning(Strategy):
    """Continue training a backbone's weights on new data.

    The layer policy sets learning rates per layer group, gradual unfreezing and partial freezing; this class adds the
    L2-SP penalty and the initialisation of the head by a linear probe.

    Args:
        layers: which layer groups are trained; by default, the top group has 0.1 of the head's learning rate.
        l2_sp: ``alpha`` and ``beta`` of the penalty alpha/2 |w - w_start|^2 + beta/2 |w_head|^2; weight decay is
            0 for the parameters that it covers.
        linear_probe: ``enabled``, and the ``inverse_penalty`` values to try.
        options: keyword arguments of :class:`Strategy`.

    Raises:
        UserError: for negative weights, or a probe with a head that is not one linear layer on the backbone.

    References:
        Li, Grandvalet and Davoine, Explicit Inductive Bias for Transfer Learning with Convolutional Networks,
        ICML 2018, equation 4. Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution, ICLR 2022.
    """

    wants_weights = True
    problems = ALL | OF_PLACES.keys()

    def __init__(
        self,
        *,
        layers: LayerPolicy,
        l2_sp: Annotated[Mapping[str, float], L2SPOptions] | None = None,
        linear_probe: Annotated[Mapping[str, Any], ProbeOptions] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(layers=layers.or_rate(BACKBONE_RATE), **options)
        self.alpha, self.beta = (float((l2_sp or {}).get(name, 0.0)) for name in ("alpha", "beta"))
        if self.alpha < 0 or self.beta < 0:
            raise UserError(f"strategy.l2_sp.alpha and beta must be at least 0, not {self.alpha} and {self.beta}")
        self.probes = (
            tuple((linear_probe or {}).get("inverse_penalty", ())) if (linear_probe or {}).get("enabled") else ()
        )
        if self.probes and self.problem.of_places:
            raise UserError("strategy.linear_probe needs one label per sample, but these data have one for each word")
        if self.probes and (
            len(list(self.network.head.children())) != 1 or not isinstance(self.network.bottleneck, nn.Identity)
        ):
            raise UserError(
                "strategy.linear_probe needs a head that is one linear layer on the backbone: set "
                "strategy.bottleneck=null, strategy.head.hidden=[] and strategy.head.dropout=0"
            )
        self.probe_score: float | None = None
        self._tied_now: list[tuple[str, nn.Parameter]] | None = None
        if self.alpha:
            # buffers, so that a resumed run is tied to the same initial weights
            for name, parameter in self._tied():
                self.register_buffer(f"start_{name.replace('.', '_')}", parameter.detach().clone())

    def _tied(self) -> list[tuple[str, nn.Parameter]]:
        if self._tied_now is None:  # used in every step; the set of trained parameters does not change
            self._tied_now = list(self.learned_by_name(self.network.backbone).items())
        return self._tied_now

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups; those under L2-SP have no other decay."""
        groups = super().parameter_groups()
        for group in groups:
            covered = (group["name"].startswith("backbone/") and self.alpha) or (group["name"] == "head" and self.beta)
            if covered:
                group["weight_decay"] = 0.0
        return groups

    def penalties(self) -> dict[str, Tensor]:
        """Return the L2-SP term."""
        terms = []
        if self.alpha:
            for name, parameter in self._tied():
                start = getattr(self, f"start_{name.replace('.', '_')}")
                terms.append(self.alpha / 2 * (parameter - start).square().sum())
        if self.beta:
            terms += [self.beta / 2 * parameter.square().sum() for parameter in self.network.head.parameters()]
        return {"l2_sp": torch.stack(terms).sum()} if terms else {}

    def prepare(self, data: DataModule) -> None:
        """Initialise the head by a linear probe, unless the run is resumed."""
        if not self.probes or self.updates_done:
            return
        val = next(name for name in data.val_names if data.sets[name].y is not None)
        (train_y, val_y) = (data.sets[name].y for name in (data.primary, val))
        assert train_y is not None
        assert val_y is not None
        reader = self.reader(data)
        weights, offsets, self.probe_score = probe_of(self.problem)(
            reader.backbone_features(data.primary),
            train_y,
            reader.backbone_features(val),
            val_y,
            self.probes,
            balanced=self.criterion.balanced,
        )
        ((name, head),) = self.network.head.named_children()
        assert isinstance(head, nn.Linear)
        with torch.no_grad():
            load_weights(self.network.head, {f"{name}.weight": weights, f"{name}.bias": offsets})
