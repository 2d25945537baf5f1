"""Per-sample gradients, squared or in absolute value, summed over samples without a loop over them.

One forward pass is enough for a whole batch. The gradients of linear, convolutional and normalising layers and of
embeddings follow from the layer's input and the gradient at its output, so that only the latter is back-propagated.
Other parameters, and those of a layer that is called more than once per sample, are computed by ``torch.func.vmap``, or
by a loop over the samples if the model's control flow depends on the values of its inputs, which vmap refuses.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from tl_lab.errors import UserError, nearest
from tl_lab.functional.layer_gradients import EmbeddingSums, LayerSums, has_closed_form, sums_of, wide

__all__ = ["Directions", "PerSampleSums", "Rows", "Targets", "each", "rows", "separate_parameters", "undisturbed"]

Rows = Tensor | Mapping[str, Tensor]
"""A batch of inputs, ``(B, ...)``, in one tensor or in several by name."""

Targets = Callable[[Tensor, Tensor], Tensor]
"""``(logits (B, C), labels (B,))`` -> the targets of the directions for each sample, ``(B,)``."""

Directions = Callable[[Tensor, Tensor], Iterable[Tensor]]
"""``(logits (B, C), targets (B,))`` -> vectors v, each ``(B, C)``, computed sample by sample."""


class _Call(NamedTuple):
    """Input and output of one call of a layer."""

    x: Tensor
    version: int  # of x at the call; a different version later shows that x was overwritten
    output: Tensor


_CACHE_BYTES = 2**22  # squaring and summing is a third faster if the data fit into the processor's cache

_Names = dict[str, str]  # of a layer's parameters: the layer's name for it -> the model's
_Calls = Mapping[nn.Module, list[_Call | None]]


def each(x: Rows, change: Callable[[Tensor], Tensor]) -> Rows:
    """Apply a function to every tensor of a batch of inputs.

    Examples:
        >>> each({"ids": torch.tensor([[1, 2], [3, 4]])}, lambda tensor: tensor[:1])["ids"].tolist()
        [[1, 2]]
    """
    return change(x) if isinstance(x, Tensor) else {name: change(tensor) for name, tensor in x.items()}


def rows(x: Rows) -> int:
    """Count the samples of a batch of inputs.

    Examples:
        >>> rows(torch.zeros(3, 2)), rows({"ids": torch.zeros(4, 2)})
        (3, 4)
    """
    return len(x) if isinstance(x, Tensor) else len(next(iter(x.values())))


def separate_parameters(model: nn.Module, names: Collection[str] | None) -> dict[str, Tensor]:
    """Create separate tensors that share the values of all parameters, so that the parameters stay unchanged.

    Args:
        model: whose values are shared, not copied.
        names: of the parameters whose tensors require gradients; None for all that do in the model.

    Returns:
        All parameters by name.

    Raises:
        UserError: the model has no parameter of a given name.

    Examples:
        >>> tensors = separate_parameters(torch.nn.Linear(2, 1), names=["weight"])
        >>> {name: tensor.requires_grad for name, tensor in tensors.items()}
        {'weight': True, 'bias': False}
    """
    parameters = dict(model.named_parameters())
    if names is None:
        names = [name for name, parameter in parameters.items() if parameter.requires_grad]
    for name in names:
        if name not in parameters:
            raise UserError(f"names: the model has no parameter {name!r}: {nearest(name, parameters)}")
    return {name: parameter.detach().requires_grad_(name in names) for name, parameter in parameters.items()}


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Compute gradients in evaluation mode and full precision, and restore all modes and the random state.

    Examples:
        >>> model = torch.nn.Dropout()
        >>> with undisturbed(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    modes = [
        (part, part.training) for part in model.modules()
    ]  # of each module, because frozen ones stay in evaluation mode
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    forked = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False), forked:
        model.eval()
        try:
            yield
        finally:
            for part, mode in modes:
                part.training = mode


class PerSampleSums:
    """Sums |d (v . f_n) / d theta|^power over samples n and over directions v, which are held constant.

    Use it within :func:`undisturbed`.

    Args:
        model: maps inputs ``(B, ...)`` to logits f, ``(B, C)``, independently for each sample.
        tensors: all parameters by name (see :func:`separate_parameters`); those that require gradients are covered.
        directions: computes the vectors v.
        power: 1 or 2.
        chunk_bytes: approximate largest size of the per-sample gradients in memory.
        targets: computes the targets of the directions; called once per batch.

    Raises:
        UserError: a batch-norm without running statistics couples the samples of a batch.

    Examples:
        >>> model = torch.nn.Linear(1, 1)
        >>> with undisturbed(model):
        ...     tensors = separate_parameters(model, ["weight"])
        ...     sums = PerSampleSums(model, tensors, lambda z, _: [torch.ones_like(z)], power=2, chunk_bytes=2**20)
        ...     sums.add(torch.tensor([[1.0], [2.0]]), torch.zeros(2))
        >>> sums.sums["weight"].tolist()
        [[5.0]]
    """

    def __init__(
        self,
        model: nn.Module,
        tensors: Mapping[str, Tensor],
        directions: Directions,
        power: int,
        chunk_bytes: int,
        targets: Targets = lambda logits, labels: labels,
    ) -> None:
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is None:
                raise UserError(
                    f"batch-norm {name!r} has no running statistics and couples the samples of a batch, so that none "
                    "has a gradient of its own: build it with track_running_stats=True"
                )
        self.model, self.tensors, self.directions, self.targets = model, dict(tensors), directions, targets
        on_cpu = any(tensor.device.type == "cpu" for tensor in tensors.values())
        self.power, self.keep_bytes = power, chunk_bytes
        self.chunk_bytes = min(chunk_bytes, _CACHE_BYTES) if on_cpu else chunk_bytes
        self.sums = {name: torch.zeros_like(t, dtype=wide(t.dtype)) for name, t in tensors.items() if t.requires_grad}
        """The sums by parameter, in single precision at least."""
        self._layers: dict[nn.Module, _Names] | None = None
        self._looks_at_values = False  # of its inputs, which vmap refuses

    def add(self, x: Rows, labels: Tensor) -> None:
        """Add a batch: inputs ``(B, ...)`` and labels ``(B,)``, B >= 1."""
        if self._layers is None:
            self._layers = self._layers_by_sample(each(x, lambda tensor: tensor[:1]))
        with _recording(self._layers) as calls:
            logits = self._forward(self.tensors, x)
        nodes, uses = _graph(logits)
        now = logits.detach()
        targets = self.targets(now, labels)
        with torch.no_grad():
            done = self._add_by_layer(calls, nodes, uses, logits, self.directions(now, targets))
            left = [name for name in self.sums if uses[id(self.tensors[name])] and name not in done]
            if left:
                self._add_by_vmap(left, x, now, targets)

    def _forward(self, tensors: Mapping[str, Tensor], x: Rows) -> Tensor:
        return functional_call(self.model, dict(tensors), (x,))

    def _layers_by_sample(self, x: Rows) -> dict[nn.Module, _Names]:
        """List the layers with closed forms whose rows are the samples; ``x`` is one of them, ``(1, ...)``.

        Rows could also be positions or windows whose number happens to equal the batch size, which two batch sizes
        distinguish.
        """
        layers: dict[nn.Module, _Names] = {}
        for prefix, module in self.model.named_modules():
            own = [name for name, _ in module.named_parameters(recurse=False)]
            names = {name: f"{prefix}.{name}" if prefix else name for name in own}
            names = {name: full for name, full in names.items() if full in self.sums}
            if names and has_closed_form(module):
                layers[module] = names
        for size in (2, 3):
            repeated = each(x, lambda tensor, size=size: torch.cat([tensor] * size))  # type: ignore[misc]
            with _recording(layers) as calls:
                self._forward(self.tensors, repeated)
            layers = {module: names for module, names in layers.items() if _only_call(calls[module], size)}
        return layers

    def _add_by_layer(
        self, calls: _Calls, nodes: set[Any], uses: Mapping[int, int], logits: Tensor, directions: Iterable[Tensor]
    ) -> set[str]:
        """Add the gradients that have a closed form, and return their names."""
        layers: list[tuple[LayerSums | EmbeddingSums, _Names]] = []
        outputs: list[Tensor] = []
        keep_bytes = self.keep_bytes
        for layer, names in (self._layers or {}).items():
            # the layer is called once and the parameter is used once, so that this use is in this call
            names = {own: name for own, name in names.items() if uses[id(self.tensors[name])] == 1}
            call = _only_call(calls[layer], len(logits))
            if call and names and call.output.grad_fn in nodes:
                x, output = call.x.detach(), call.output
                layers.append((sums_of(layer, names, x, output, self.power, self.chunk_bytes, keep_bytes), names))
                outputs.append(output)
                keep_bytes -= layers[-1][0].kept_bytes
        for v in directions if layers else ():
            gradients = torch.autograd.grad(logits, outputs, v, retain_graph=True)
            for (sums, _), g in zip(layers, gradients, strict=True):
                sums.add(g)
        for sums, names in layers:
            for own, total in sums.totals().items():
                self.sums[names[own]] += total
        return {name for _, names in layers for name in names.values()}

    def _add_by_vmap(self, names: Collection[str], x: Rows, logits: Tensor, targets: Tensor) -> None:
        """Add the gradients of some of the parameters, for any use of them in the model."""
        wanted = {name: self.tensors[name] for name in names}
        others = {name: tensor.detach() for name, tensor in self.tensors.items() if name not in wanted}

        def powers(x: Rows, vectors: Tensor) -> dict[str, Tensor]:
            """Compute the powers of one sample, summed over the vectors ``(K, C)``."""
            one = each(x, lambda tensor: tensor[None])
            pull = vjp(lambda tensors: self._forward({**others, **tensors}, one)[0], wanted)[1]
            total: dict[str, Any] = dict.fromkeys(wanted, 0.0)
            for v in vectors:
                for name, g in pull(v)[0].items():
                    total[name] += g.to(wide(g.dtype)).abs() ** self.power
            return total

        held = 3 * sum(tensor.nbytes for tensor in wanted.values())  # a gradient, its power, the sum
        size = max(1, self.chunk_bytes // held)
        for start in range(0, len(logits), size):
            here = slice(start, start + size)
            chunk = each(x, lambda tensor, here=here: tensor[here])  # type: ignore[misc]
            vectors = list(self.directions(logits[here], targets[here]))
            for total in self._by_sample(powers, chunk, torch.stack(vectors, 1)) if vectors else ():  # (B, K, C)
                for name, value in total.items():
                    self.sums[name] += value

    def _by_sample(
        self, powers: Callable[[Rows, Tensor], dict[str, Tensor]], x: Rows, vectors: Tensor
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the sums of all samples at once, or of one after the other if control flow depends on values."""
        if not self._looks_at_values:
            try:
                totals = vmap(powers)(x, vectors)
            except RuntimeError as error:
                if "vmap" not in str(error):
                    raise
                self._looks_at_values = True
            else:
                yield {name: total.sum(0) for name, total in totals.items()}
                return
        for i in range(len(vectors)):
            yield powers(each(x, lambda tensor, i=i: tensor[i]), vectors[i])  # type: ignore[misc]


@contextmanager
def _recording(layers: Iterable[nn.Module]) -> Iterator[_Calls]:
    """Record inputs and outputs of the layers' calls; None for a call with an unusual signature."""
    calls: dict[nn.Module, list[_Call | None]] = {layer: [] for layer in layers}

    def keep(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        calls[layer].append(_Call(args[0], args[0]._version, output) if args else None)
        return output.clone()  # later operations may overwrite it

    handles = [layer.register_forward_hook(keep, prepend=True) for layer in calls]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _only_call(calls: list[_Call | None], size: int) -> _Call | None:
    """Return the call of a layer that was called once, with a sample in each of ``size`` rows."""
    call = calls[0] if len(calls) == 1 else None
    if call is None or not len(call.x) == len(call.output) == size:
        return None
    return call if call.x._version == call.version else None


def _graph(output: Tensor) -> tuple[set[Any], Counter[int]]:
    """List the nodes of the output's graph, and count the uses of each leaf by its ``id``."""
    uses: Counter[int] = Counter()
    nodes, waiting = {output.grad_fn}, [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if type(node).__name__ == "CheckpointFunctionBackward":
            raise UserError("reentrant checkpoints hide parameters from the graph: checkpoint with use_reentrant=False")
        for following, _ in node.next_functions if node else ():
            if following is not None and hasattr(following, "variable"):
                uses[id(following.variable)] += 1
            elif following is not None and following not in nodes:
                nodes.add(following)
                waiting.append(following)
    return nodes, uses
