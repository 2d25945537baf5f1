"""Importance of parameters: the diagonal of the Fisher information, and the sensitivity of the output.

Sums and counts are available in addition to means: with several processes, each sums over its share of the data, and
both are reduced before dividing.
"""

from collections.abc import Collection, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tl_lab.errors import UserError, nearest
from tl_lab.functional.layer_gradients import wide
from tl_lab.functional.likelihoods import CATEGORICAL, Likelihood
from tl_lab.functional.per_sample import PerSampleSums, Rows, each, rows, separate_parameters, undisturbed

__all__ = ["FISHER_ESTIMATORS", "fisher_diagonal", "fisher_sums", "output_sensitivity", "sensitivity_sums"]

FISHER_ESTIMATORS = ("exact", "sample", "empirical", "batched")

Batches = Iterable[tuple[Rows, Tensor]]


def fisher_sums(
    model: nn.Module,
    batches: Batches,
    estimator: str = "exact",
    names: Collection[str] | None = None,
    generator: torch.Generator | None = None,
    chunk_bytes: int = 2**28,
    likelihood: Likelihood = CATEGORICAL,
) -> tuple[dict[str, Tensor], int]:
    """Sum the diagonal of the Fisher information over samples n; p_n is the softmax of the logits.

    - ``exact``: sum_n sum_k p_nk (d log p_nk / d theta)^2, the expectation over the model's own labels, in C - 1
      backward passes a batch.
    - ``sample``: sum_n (d log p_nk / d theta)^2 for one label k drawn from p_n: the same in expectation, in one pass.
    - ``empirical``: sum_n (d log p_nk / d theta)^2 for the true label k. It is not the Fisher information: it vanishes
      where the model fits its data, however much the output depends on the parameter.
    - ``batched``: sum_b (d l_b / d theta)^2, with the mean loss l_b of batch b (the cross-entropy for a softmax), as
      many libraries compute it. It is not the Fisher information either: gradients cancel before they are squared, and
      more so in larger batches.

    Args:
        model: maps inputs ``(B, ...)``, one tensor or several by name, to logits ``(B, C)``, independently for each
            sample. It runs in evaluation mode and full precision; its modes, buffers and gradients and the global
            random state are not changed.
        batches: inputs and true labels, ``(B,)`` or in the form of the likelihood, on the model's device; empty
            batches are skipped.
        estimator: one of ``FISHER_ESTIMATORS``.
        names: names of the parameters, from ``model.named_parameters()``; None for all that require gradients.
        generator: draws the labels of ``sample``, which requires it.
        chunk_bytes: approximate largest size of the per-sample gradients in memory.
        likelihood: distribution of the labels given the outputs; by default that of a softmax, as above.

    Returns:
        The sums by name, shaped like the parameters and in single precision at least, and the number of terms: samples,
        or batches for ``batched``.

    Raises:
        UserError: an unknown estimator or name, ``sample`` without a generator, or a model that couples the samples of
            a batch.

    References:
        Kirkpatrick et al., Overcoming Catastrophic Forgetting in Neural Networks, PNAS 2017, equation 3.
        van de Ven, On the Computation of the Fisher Information in Continual Learning, ICLR Blogposts 2025, which
        compares the four.

    Examples:
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> sums, count = fisher_sums(model, [(torch.ones(2, 1), torch.tensor([0, 1]))])
        >>> sums["weight"].tolist(), count
        ([[0.5], [0.5]], 2)
    """
    if estimator not in FISHER_ESTIMATORS:
        raise UserError(f"estimator: there is no {estimator!r}, {nearest(estimator, FISHER_ESTIMATORS)}")
    if estimator == "batched":
        return _batched_sums(model, batches, names, likelihood)
    if estimator == "sample" and generator is None:
        raise UserError("generator: estimator 'sample' draws labels and requires a generator")

    def targets(logits: Tensor, labels: Tensor) -> Tensor:
        return labels if estimator != "sample" or generator is None else likelihood.draw(logits, generator)

    def exact(outputs: Tensor, _: Tensor) -> Iterator[Tensor]:
        yield from likelihood.factors(outputs)

    def one_label(outputs: Tensor, labels: Tensor) -> Iterator[Tensor]:
        yield likelihood.score(outputs, labels)

    with undisturbed(model):
        directions = exact if estimator == "exact" else one_label
        sums = PerSampleSums(model, separate_parameters(model, names), directions, 2, chunk_bytes, targets)
        return sums.sums, _add_all(sums, batches)


def fisher_diagonal(
    model: nn.Module,
    batches: Batches,
    estimator: str = "exact",
    names: Collection[str] | None = None,
    generator: torch.Generator | None = None,
    chunk_bytes: int = 2**28,
    likelihood: Likelihood = CATEGORICAL,
) -> dict[str, Tensor]:
    """Estimate the diagonal of the Fisher information: the sums of :func:`fisher_sums` divided by their terms.

    Args:
        model, batches, estimator, names, generator, chunk_bytes, likelihood: as in :func:`fisher_sums`.

    Returns:
        The means by name, >= 0, with the shapes and types of the parameters.

    Raises:
        UserError: see :func:`fisher_sums`; or there is no sample.

    Examples:
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> fisher_diagonal(model, [(torch.ones(2, 1), torch.tensor([0, 1]))])["weight"].tolist()
        [[0.25], [0.25]]
    """
    return _means(model, *fisher_sums(model, batches, estimator, names, generator, chunk_bytes, likelihood))


def sensitivity_sums(
    model: nn.Module, batches: Batches, names: Collection[str] | None = None, chunk_bytes: int = 2**28
) -> tuple[dict[str, Tensor], int]:
    """Sum the sensitivity of the output over samples: sum_n |d ||f(x_n)||^2 / d theta|, the importance of MAS.

    The absolute value is taken of the gradient of each sample; labels are not used.

    Args:
        model, batches, names, chunk_bytes: as in :func:`fisher_sums`.

    Returns:
        The sums by name, shaped like the parameters and in single precision at least, and the number of samples.

    Raises:
        UserError: an unknown name, or a model that couples the samples of a batch.

    References:
        Aljundi et al., Memory Aware Synapses: Learning What (not) to Forget, ECCV 2018, equation 2, with the squared
        norm of the output for multi-dimensional outputs.

    Examples:
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> sums, count = sensitivity_sums(model, [(torch.ones(3, 1), torch.zeros(3))])
        >>> sums["weight"].tolist(), count
        ([[6.0], [6.0]], 3)
    """
    with undisturbed(model):
        sums = PerSampleSums(model, separate_parameters(model, names), lambda f, _: [2 * f], 1, chunk_bytes)
        return sums.sums, _add_all(sums, batches)


def output_sensitivity(
    model: nn.Module, batches: Batches, names: Collection[str] | None = None, chunk_bytes: int = 2**28
) -> dict[str, Tensor]:
    """Average the sensitivity of the output: the sums of :func:`sensitivity_sums` divided by the number of samples.

    Args:
        model, batches, names, chunk_bytes: as in :func:`fisher_sums`.

    Returns:
        The means by name, >= 0, with the shapes and types of the parameters.

    Raises:
        UserError: see :func:`sensitivity_sums`; or there is no sample.

    Examples:
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> output_sensitivity(model, [(torch.ones(3, 1), torch.zeros(3))])["weight"].tolist()
        [[2.0], [2.0]]
    """
    return _means(model, *sensitivity_sums(model, batches, names, chunk_bytes))


def _add_all(sums: PerSampleSums, batches: Batches) -> int:
    """Add all batches, and count their samples."""
    count = 0
    for x, labels in _usable(batches):
        sums.add(x, labels)
        count += rows(x)
    return count


def _batched_sums(
    model: nn.Module, batches: Batches, names: Collection[str] | None, likelihood: Likelihood
) -> tuple[dict[str, Tensor], int]:
    with undisturbed(model):
        tensors = separate_parameters(model, names)
        covered = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
        sums = {name: torch.zeros_like(tensor, dtype=wide(tensor.dtype)) for name, tensor in covered.items()}
        count = 0
        for x, labels in _usable(batches):
            loss = likelihood.loss(functional_call(model, tensors, (x,)), labels)
            if loss.requires_grad:
                gradients = torch.autograd.grad(loss, list(covered.values()), materialize_grads=True)
                for total, gradient in zip(sums.values(), gradients, strict=True):
                    total += gradient.to(total.dtype).square()
            count += 1
        return sums, count


def _usable(batches: Batches) -> Iterator[tuple[Rows, Tensor]]:
    """Skip empty batches, and copy tensors that were created in inference mode, which autograd refuses."""
    for x, labels in batches:
        if rows(x):
            yield each(x, _usable_tensor), _usable_tensor(labels)


def _usable_tensor(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def _means(model: nn.Module, sums: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    if not count:
        raise UserError("batches: a mean needs at least one sample, but there is none")
    parameters = dict(model.named_parameters())
    return {name: (total / count).to(parameters[name].dtype) for name, total in sums.items()}
