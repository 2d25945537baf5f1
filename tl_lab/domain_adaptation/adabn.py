"""Adaptive batch normalisation: the target is normalised with its own statistics."""

from collections.abc import Callable, Iterable
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tl_lab.data.inputs.operations import Inputs, take
from tl_lab.domain_adaptation.base import DomainAdaptation, Domains
from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.problems import ALL

__all__ = ["AdaBN", "adapt_statistics"]


class AdaBN(DomainAdaptation):
    """Train on the source; before the target is scored, estimate batch-norm statistics on its training part.

    The target is normalised by y = scale (x - mu_t) / sqrt(sigma_t^2 + eps) + shift, and the source by the same formula
    with mu_s and sigma_s. Scale and shift are trained on the source; mu_t and sigma_t^2 are the mean and variance of a
    channel over all samples and positions of the target. Neither target labels nor gradients are used.

    Args:
        exact: True measures one layer after the other, so that each layer's statistics are those of its inputs when all
            previous layers normalise with their final statistics. This takes a pass over the target's training part,
            up to that layer, for each batch-norm layer. False takes a single pass in which each batch is normalised
            with its own statistics, which are pooled over batches; the result is equal for the first layer and
            similar for the others.

    Raises:
        UserError: the network has no batch normalisation (from :meth:`build`).

    References:
        Li, Wang, Shi, Hou and Liu, Adaptive Batch Normalization for Practical Domain Adaptation, Pattern Recognition
        80 (2018), algorithm 1.
    """

    problems = ALL
    trains_on_target = False
    batch_norm = "domain_specific"

    def __init__(self, exact: bool = True) -> None:
        super().__init__()
        self.exact = exact

    def build(self, network: Network) -> None:
        """Check that the network has batch normalisation; no module is built."""
        if not _separated(network):
            raise UserError(
                "domain_adaptation=adabn estimates batch-norm statistics, but this network has no batch normalisation: "
                "choose a backbone that has it (lenet, conv4 and mlp have it with backbone.batch_norm=true)"
            )

    def before_evaluation(self, network: Network, domain: str | None, domains: Domains) -> None:
        """Estimate the target's statistics at the current weights; the source keeps its own."""
        if domain == "target":
            adapt_statistics(network, lambda: domains.batches("target/train"), self.exact)

    def facts(self) -> dict[str, str]:
        """Report how the target's statistics are estimated."""
        how = "layer by layer" if self.exact else "in one pass"
        return {"batch-norm statistics": f"the target's are measured on its training part, {how}"}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"exact={self.exact}"


@torch.no_grad()
def adapt_statistics(network: Network, batches: Callable[[], Iterable[Inputs]], exact: bool = True) -> None:
    """Set the batch-norm running statistics of the current domain to those of given inputs.

    The variance is the mean over all N values of a channel, so that normalised values have variance 1.

    Args:
        network: the network; its mode is restored. Layers that are not reached keep their statistics.
        batches: function called for each pass; returns batches of inputs ``(B, ...)`` on the network's device.
        exact: see :class:`AdaBN`.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        layers = _in_order(network, next(iter(batches())))
        for measured in [[layer] for layer in layers] if exact else [layers]:
            _measure(network, measured, batches(), exact)
    finally:
        for module, mode in modes:
            module.training = mode


def _separated(network: Network) -> list[_BatchNorm]:
    """List the layers with separate statistics for the target."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in norms if "target_running_mean" in norm._buffers]


def _in_order(network: Network, x: Inputs) -> list[_BatchNorm]:
    """List these layers in the order of the forward pass, which may differ from the order of registration."""
    reached: dict[_BatchNorm, None] = {}
    hooks = [norm.register_forward_pre_hook(lambda norm, _: reached.setdefault(norm)) for norm in _separated(network)]
    try:
        network.features(take(x, slice(2)))
    finally:
        for hook in hooks:
            hook.remove()
    return list(reached)


def _measure(network: Network, layers: list[_BatchNorm], batches: Iterable[Inputs], cut_off: bool) -> None:
    """Pass all batches through the network, and set the layers' statistics to those of their inputs."""
    moments = {layer: _Moments() for layer in layers}
    counters = {layer: layer.num_batches_tracked.clone() for layer in layers if layer.num_batches_tracked is not None}

    def record(layer: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        moments[layer].add(inputs[0])
        if cut_off:
            raise _ReachedError

    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        for layer in layers if not cut_off else ():
            layer.train()  # normalises each batch with its own statistics
        for x in batches:
            with suppress(_ReachedError):
                network.features(x)
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        layer.eval()
        layer.running_mean.copy_(moments[layer].mean)  # type: ignore[union-attr]
        layer.running_var.copy_(moments[layer].variance)  # type: ignore[union-attr]
    for layer, counter in counters.items():
        layer.num_batches_tracked.copy_(counter)  # type: ignore[union-attr]


class _ReachedError(Exception):
    """Ends a forward pass at the measured layer, since later layers need not be computed."""


class _Moments:
    """Mean and variance of each channel, accumulated over batches in double precision."""

    def __init__(self) -> None:
        self.count, self.mean, self.variance = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Add ``(B, C, ...)``."""
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        variance, mean = torch.var_mean(x, [d for d in range(x.dim()) if d != 1], correction=0)
        variance, mean = variance.cpu().double(), mean.cpu().double()
        share = x.numel() // x.shape[1] / (self.count + x.numel() // x.shape[1])  # of the new values
        difference = mean - self.mean
        self.variance = self.variance + share * (variance - self.variance) + share * (1 - share) * difference.square()
        self.mean = self.mean + share * difference
        self.count += x.numel() // x.shape[1]
