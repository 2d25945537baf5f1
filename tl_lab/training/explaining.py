"""Figures that explain a network: its inputs, and Grad-CAM maps of the image regions on which its outputs depend."""

from typing import TYPE_CHECKING

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from tl_lab.data.names import SetName
from tl_lab.problems import Problem
from tl_lab.results.figures.drawing import INK, STYLE, numpy_of, shortened
from tl_lab.training.feature_reader import evaluating

if TYPE_CHECKING:
    from tl_lab.data.base import DataModule
    from tl_lab.training.measuring import Measuring

__all__ = ["activation_maps", "figures_of_maps", "figures_of_spectrograms", "last_maps"]

_IMAGES = 8  # largest number of samples shown per test set
_UTTERANCES = 3  # the same for recordings with transcripts, which need more space


def last_maps(net: nn.Module) -> nn.Module | None:
    """Find the last convolution of a network; None if it has none."""
    found = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    return found[-1] if found else None


def activation_maps(network: nn.Module, layer: nn.Module, x: Tensor, outputs: Tensor) -> Tensor:
    """Compute Grad-CAM with captum: relu(sum_k a_k A_k), where a_k is the mean gradient of the output by the map A_k.

    Args:
        network: a network with outputs ``(B, C)``, in evaluation mode.
        layer: a convolution of the network.
        x: prepared images, ``(B, C, H, W)``.
        outputs: index of the explained output for each image, ``(B,)``.

    Returns:
        Maps at the size of the images, ``(B, H, W)``, each scaled to [0, 1] (all 0 if the output depends on no region).

    References:
        R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization", ICCV
        2017. https://arxiv.org/abs/1610.02391
    """
    from captum.attr import LayerAttribution, LayerGradCam

    with torch.enable_grad():
        maps = LayerGradCam(network, layer).attribute(
            x.detach().requires_grad_(), target=outputs, relu_attributions=True
        )
    maps = LayerAttribution.interpolate(maps, tuple(x.shape[-2:]), "bilinear").detach()[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def figures_of_maps(strategy: "Measuring", data: "DataModule") -> dict[str, Figure]:
    """Draw a few test images with the activation maps of their predictions or of their true findings.

    Args:
        strategy: the tested strategy, on its device.
        data: image data.

    Returns:
        A figure for each test set; none if captum is not installed or the network has no convolution.
    """
    try:
        import captum  # noqa: F401
    except ImportError:
        return {}
    layer = last_maps(strategy.network.encoder()[0])
    if layer is None or data.modality != "image":
        return {}
    figures = {}
    was_training = strategy.network.training
    strategy.network.eval()
    try:
        for name in data.test_names:
            index, explained = _explained(data, name)
            if not len(index):
                continue
            strategy.network.use(data.domain_of(name))
            x = data.inputs_at(name, index)
            assert isinstance(x, Tensor)
            with torch.no_grad():
                outputs = strategy.network(x)
            if explained is None:
                explained = data.problem.predict(outputs).values
                titles = [data.class_names[k] for k in explained.tolist()]
            else:
                p = outputs.sigmoid().gather(1, explained.to(outputs.device)[:, None])[:, 0].tolist()
                names = [shortened(data.class_names[k], 9) for k in explained.tolist()]
                titles = [f"{finding} {share:.0%}" for finding, share in zip(names, p, strict=True)]
            maps = activation_maps(strategy.network, layer, x, explained.to(x.device))
            assert data.spec is not None
            images = data.spec.restore(x)
            assert isinstance(images, Tensor)
            figures[f"activation_maps_{SetName.parse(name).file}"] = drawn(images, maps, titles)
    finally:
        strategy.network.train(was_training)
    return figures


def _explained(data: "DataModule", name: str) -> tuple[Tensor, Tensor | None]:
    """Choose the images to draw, and the finding to explain in each; None explains the prediction.

    If images have findings, the most frequent findings are explained, each in an equal number of images that have it.
    """
    count, y = len(data.sets[name]), data.sets[name].y
    has = None if y is None else data.problem.present(y)
    if has is None:
        return _evenly(torch.arange(count), _IMAGES), None
    present = has.sum(0)
    findings = [k for k in present.argsort(descending=True, stable=True).tolist()[:_IMAGES] if present[k]]
    index = [_evenly(has[:, k].nonzero()[:, 0].cpu(), _IMAGES // len(findings)) for k in sorted(findings)]
    numbers = [torch.full((len(one),), k) for one, k in zip(index, sorted(findings), strict=True)]
    return (torch.cat(index), torch.cat(numbers)) if findings else (torch.arange(0), torch.arange(0))


def _evenly(index: Tensor, count: int) -> Tensor:
    """Select up to a number of samples, evenly spaced, because a set may be sorted by class."""
    if len(index) <= count:
        return index
    return index[torch.linspace(0, len(index) - 1, count).round().long()]


@matplotlib.rc_context(STYLE)
def drawn(images: Tensor, maps: Tensor, titles: list[str]) -> Figure:
    """Draw images in one row, and below each image the same image with its map.

    Args:
        images: images in [0, 1], ``(B, C, H, W)``.
        maps: maps in [0, 1], ``(B, H, W)``.
        titles: description of what each map explains, B texts.
    """
    shown, heat = numpy_of(images.cpu()), numpy_of(maps.cpu())
    figure = Figure(figsize=(1.3 * len(shown), 3.1), layout="constrained")
    axes = figure.subplots(2, len(shown), squeeze=False)
    for k, image in enumerate(shown):
        picture = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        for row in range(2):
            ax = axes[row, k]
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
        axes[1, k].imshow(heat[k], cmap="inferno", alpha=0.55, vmin=0, vmax=1)
        axes[0, k].set_title(shortened(titles[k], 14), fontsize=8, color=INK)
    axes[0, 0].set_ylabel("image", fontsize=8)
    axes[1, 0].set_ylabel("Grad-CAM", fontsize=8)
    return figure


def figures_of_spectrograms(strategy: "Measuring", data: "DataModule") -> dict[str, Figure]:
    """Draw the spectrograms of a few test recordings with the network's predictions.

    Args:
        strategy: the tested strategy, on its device.
        data: data of recordings.

    Returns:
        A figure for each test set; none if the network takes waveforms.
    """
    if data.modality != "audio":
        return {}
    figures, shown = {}, _UTTERANCES if data.problem.writes else _IMAGES
    for name in data.test_names:
        count = len(data.sets[name])
        index = torch.linspace(0, count - 1, min(shown, count)).round().long()
        x, y = data.inputs_at(name, index), data.sets[name].y
        if isinstance(x, Tensor) or "mel" not in x or y is None:
            continue
        strategy.network.use(data.domain_of(name))
        with torch.no_grad(), evaluating(strategy.network):
            predicted = data.problem.words(data.problem.predict(strategy.network(x)).values)
        titles = _titles(predicted, y[index.to(y.device)].cpu(), data.problem)
        parts = [mel[:, :length].cpu() for mel, length in zip(x["mel"], x["length"].tolist(), strict=True)]
        figures[f"spectrograms_{SetName.parse(name).file}"] = drawn_spectrograms(parts, titles)
    return figures


def _titles(predicted: list[str], y: Tensor, problem: Problem) -> list[str]:
    """Describe the predictions on recordings, with the truth if it differs."""
    true = problem.truths(y)
    if true is None:
        return predicted
    pairs = zip(predicted, true, strict=True)
    if problem.writes:
        return [f"{text or '(nothing)'}\n(true: {truth})" for text, truth in pairs]
    return [text + ("" if text == truth else f" (true: {truth})") for text, truth in pairs]


@matplotlib.rc_context(STYLE)
def drawn_spectrograms(parts: list[Tensor], titles: list[str]) -> Figure:
    """Draw spectrograms side by side, with low frequencies at the bottom.

    Args:
        parts: spectrograms, ``(M, L)`` each.
        titles: one title per spectrogram.
    """
    figure = Figure(figsize=(12, 2.2), layout="constrained")
    axes = figure.subplots(1, len(parts), squeeze=False)[0]
    letters = 2 * 64 // len(parts)  # number of letters that fit above a spectrogram
    for ax, part, title in zip(axes, parts, titles, strict=True):
        ax.imshow(numpy_of(part), aspect="auto", origin="lower", cmap="magma")
        ax.set_title("\n".join(shortened(line, letters) for line in title.split("\n")), fontsize=8, color=INK)
        ax.set_yticks([])
        ax.grid(visible=False)
        ax.tick_params(labelsize=6)
    axes[0].set_ylabel("mel band", fontsize=8)
    figure.supxlabel("frames of 10 ms", fontsize=8)
    return figure
