"""The figures of both domains: features in two dimensions, and points of the plane with the decision boundary."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tl_lab.results.figures.drawing import (
    GREY,
    INK,
    SOURCE,
    STYLE,
    TARGET,
    boxes_apart,
    class_colours,
    darker,
    numpy_of,
    shortened,
)

__all__ = ["PairFeatures", "decision_boundary", "domain_embedding", "embeddings_beside", "plane_of"]

_MANY_CLASSES = 20


class PairFeatures(NamedTuple):
    """Features of both domains, the arguments of :func:`domain_embedding`.

    Attributes:
        source: source features, (N, D).
        source_labels: source labels, (N,), integers in [0, C).
        target: target features, (M, D).
        target_labels: target labels, (M,); None if there are none.
        class_names: names of the C classes.
        grouping: kind of classes, for the heading.
    """

    source: Any
    source_labels: Any
    target: Any
    target_labels: Any | None
    class_names: Sequence[str]
    grouping: str = "class"


@matplotlib.rc_context(STYLE)
def domain_embedding(
    features_source: Any,
    labels_source: Any,
    features_target: Any,
    labels_target: Any | None,
    class_names: Sequence[str],
    grouping: str = "class",
    *,
    max_points: int = 1000,
    seed: int = 0,
) -> Figure:
    """Draw source and target features in two dimensions, by PCA and t-SNE (rows), and by class and domain (columns).

    Both projections are fitted to the two domains together. Points are drawn in random order, so that neither domain
    hides the other. t-SNE (perplexity 30 or less, initialised by PCA) shows only neighbourhoods; its distances mean
    little.

    Args:
        features_source: source features, (N, D).
        labels_source: source labels, (N,), integers in [0, C).
        features_target: target features, (M, D).
        labels_target: target labels, (M,); None to draw the target in grey in the panels coloured by class.
        class_names: names of the C classes.
        grouping: kind of classes, for the heading.
        max_points: largest number of points, half of them from each domain if both have enough.
        seed: seed of the subsample, the drawing order and t-SNE.

    Returns:
        The figure.

    Raises:
        ValueError: a domain has no sample with finite features, or the dimensions D differ.

    References:
        van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    given = PairFeatures(features_source, labels_source, features_target, labels_target, class_names, grouping)
    drawn, rng = _drawn(given, max_points, seed)
    pca, explained = _pca(drawn.features)
    shown = [(f"PCA ({explained:.0%} of the variance)", pca[:, :2]), ("t-SNE", _tsne(pca, seed))]
    labels, is_target = drawn.labels, drawn.is_target

    figure = Figure(figsize=(10.6, 8.8), layout="constrained")
    axes = figure.subplots(2, 2)
    order = rng.permutation(len(labels))
    colours = class_colours(len(class_names))
    for row, (name, points) in enumerate(shown):
        _scatter(axes[row, 0], points, order, [_point_colour(colours, y) for y in labels], is_target)
        _scatter(axes[row, 1], points, order, [TARGET if one else SOURCE for one in is_target], is_target)
        axes[row, 0].set_ylabel(name, color=INK, fontsize=10)
        if len(class_names) <= _MANY_CLASSES:
            _name_clusters(axes[row, 0], points, labels, is_target, class_names, colours)
    axes[0, 0].set_title(f"by {grouping}")
    axes[0, 1].set_title("by domain")
    _class_legend(figure, axes, class_names, colours, unlabelled=labels_target is None, title=grouping)
    _domain_legend(figure, int((~is_target).sum()), int(is_target.sum()))
    return figure


@matplotlib.rc_context(STYLE)
def embeddings_beside(runs: Mapping[str, PairFeatures], *, max_points: int = 1000, seed: int = 0) -> Figure:
    """Draw the features of several runs in two dimensions side by side, each with its own t-SNE.

    Columns are runs; the upper row is coloured by class, the lower row by domain.

    Args:
        runs: features of each run by heading; all have the same classes.
        max_points: largest number of points per run, half of them from each domain if both have enough.
        seed: seed of the subsamples, the drawing order and t-SNE.

    Returns:
        The figure.

    Raises:
        ValueError: the runs have different classes, or a domain has no sample with finite features.
    """
    names = {tuple(given.class_names) for given in runs.values()}
    if len(names) != 1:
        raise ValueError("the runs have different classes")
    class_names, colours = next(iter(names)), class_colours(len(next(iter(names))))
    figure = Figure(figsize=(1.4 + 4.4 * len(runs), 7.6), layout="constrained")
    axes = figure.subplots(2, len(runs), squeeze=False)
    for column, (heading, given) in enumerate(runs.items()):
        drawn, rng = _drawn(given, max_points, seed)
        points = _tsne(_pca(drawn.features)[0], seed)
        order = rng.permutation(len(points))
        of_class = [_point_colour(colours, y) for y in drawn.labels]
        _scatter(axes[0, column], points, order, of_class, drawn.is_target)
        of_domain = [TARGET if one else SOURCE for one in drawn.is_target]
        _scatter(axes[1, column], points, order, of_domain, drawn.is_target)
        if len(class_names) <= _MANY_CLASSES:
            _name_clusters(axes[0, column], points, drawn.labels, drawn.is_target, class_names, colours)
        axes[0, column].set_title(heading)
    unlabelled = any(given.target_labels is None for given in runs.values())
    grouping = next(iter(runs.values())).grouping
    axes[0, 0].set_ylabel(f"t-SNE, by {grouping}", color=INK, fontsize=10)
    axes[1, 0].set_ylabel("t-SNE, by domain", color=INK, fontsize=10)
    _class_legend(figure, axes, class_names, colours, unlabelled=unlabelled, title=grouping)
    _domain_legend(figure, int((~drawn.is_target).sum()), int(drawn.is_target.sum()))
    return figure


@matplotlib.rc_context(STYLE)
def decision_boundary(
    source: Any,
    labels_source: Any,
    target: Any,
    labels_target: Any | None,
    grid: tuple[Any, Any],
    probabilities: Any,
    class_names: Sequence[str],
) -> Figure:
    """Draw two-dimensional points from both domains over the classifier's decision regions.

    Args:
        source: source points, (N, 2).
        labels_source: source labels, (N,), integers in [0, C).
        target: target points, (M, 2).
        labels_target: target labels, (M,); None to draw the target in grey.
        grid: coordinates of the grid along both axes, (W,) and (H,).
        probabilities: probabilities of the classes at each point of the grid, (H, W, C).
        class_names: names of the C classes.

    Returns:
        The figure, with the plane coloured by the predicted class (darker if the confidence is higher), and the
        decision boundary.
    """
    across, down = (numpy_of(part) for part in grid)
    p = numpy_of(probabilities).astype(np.float64)
    colours = class_colours(len(class_names))
    rgb: list[Any] = [_point_colour(colours, i)[:3] for i in range(len(class_names))]
    best, sureness = p.argmax(2), (p.max(2) - 1 / p.shape[2]) / (1 - 1 / p.shape[2])
    tint = 1 - 0.35 * sureness[..., None] * (1 - np.array(rgb)[best])
    figure = Figure(figsize=(6.6, 5.4), layout="constrained")
    ax = figure.subplots()
    extent = (across[0], across[-1], down[0], down[-1])
    ax.imshow(tint, extent=extent, origin="lower", aspect="equal", interpolation="bilinear")
    for label in range(len(class_names)):
        ahead = p[..., label] - np.delete(p, label, axis=2).max(2)
        if ahead.min() < 0 < ahead.max():
            ax.contour(across, down, ahead, levels=[0.0], colors=INK, linewidths=1.0)
    drawn = [("source", source, labels_source, "o", 14), ("target", target, labels_target, "^", 20)]
    for domain, points, labels, marker, size in drawn:
        x = numpy_of(points)
        known = labels is not None
        chosen = [_point_colour(colours, int(y)) for y in numpy_of(labels)] if known else [to_rgb(GREY)] * len(x)
        filled = {"c": chosen} if domain == "source" else {"facecolors": "white", "edgecolors": chosen}
        ax.scatter(x[:, 0], x[:, 1], s=size, marker=marker, linewidths=0.9, **filled)
    ax.grid(visible=False)
    ax.set_title("Decision regions of the classifier, as used on the target")
    marks = [Line2D([], [], ls="", marker="o", color=colour) for colour in rgb]
    marks += [Line2D([], [], ls="", marker="o", color=GREY), Line2D([], [], ls="", marker="^", mfc="white", mec=GREY)]
    marks.append(Line2D([], [], color=INK, lw=1.0))
    words = [*class_names, "source", "target" if labels_target is not None else "target (no labels)", "boundary"]
    figure.legend(marks, words, loc="outside lower center", ncols=len(words))
    return figure


class _Drawn(NamedTuple):
    features: np.ndarray
    labels: np.ndarray
    is_target: np.ndarray


def _drawn(given: PairFeatures, most: int, seed: int) -> tuple[_Drawn, np.random.Generator]:
    """Choose the samples of both domains to draw; also return the random generator for the drawing order."""
    rng = np.random.default_rng(seed)
    source, source_y = _finite(given.source, given.source_labels, "source")
    target, target_y = _finite(given.target, given.target_labels, "target")
    if source.shape[1] != target.shape[1]:
        raise ValueError(f"source features have {source.shape[1]} dimensions, target features {target.shape[1]}")
    kept_source, kept_target = _subsample(len(source), len(target), most, rng)
    features = np.concatenate([source[kept_source], target[kept_target]]).astype(np.float64)
    labels = np.concatenate([source_y[kept_source], target_y[kept_target]])
    return _Drawn(features, labels, np.arange(len(features)) >= len(kept_source)), rng


def _finite(features: Any, labels: Any | None, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Select the samples with finite features; label -1 stands for no label."""
    x = numpy_of(features)
    y = np.full(len(x), -1) if labels is None else numpy_of(labels).astype(int)
    if x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"{domain}: features and labels must be (N, D) and (N,), not {x.shape} and {y.shape}")
    good = np.isfinite(x).all(axis=1)
    if not good.any():
        raise ValueError(f"{domain}: no sample has finite features")
    return x[good], y[good]


def _subsample(n: int, m: int, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw up to ``most`` of n + m samples, half from each domain if both have enough."""
    take_n = min(n, max(most // 2, most - m))
    take_m = min(m, most - take_n)
    return rng.permutation(n)[:take_n], rng.permutation(m)[:take_m]


def plane_of(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Place samples in the plane by t-SNE of their principal components.

    Args:
        features: features of the samples, ``(N, D)``; those with NaN or infinity are replaced by the mean of the
            others.
        seed: seed of t-SNE.

    Returns:
        Positions in the plane, ``(N, 2)``.
    """
    good = np.isfinite(features).all(1)
    mean = features[good].mean(0) if good.any() else np.zeros(features.shape[1])
    return _tsne(_pca(np.where(good[:, None], features, mean))[0], seed)


def _pca(features: np.ndarray, dimensions: int = 50) -> tuple[np.ndarray, float]:
    """Project on the principal components; also return the share of variance of the first two."""
    centred = features - features.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    keep = min(dimensions, len(s))
    # the sign of a component is arbitrary; its largest weight is made positive, so that figures can be compared
    signs = np.sign(vt[np.arange(keep), np.abs(vt[:keep]).argmax(axis=1)])
    points = u[:, :keep] * s[:keep] * np.where(signs == 0, 1, signs)
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    return points, float((s[:2] ** 2).sum() / max((s**2).sum(), 1e-300))


def _tsne(points: np.ndarray, seed: int) -> np.ndarray:
    """Embed points in the plane by t-SNE, after scaling their first component to standard deviation 1."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(points) < 5 or np.ptp(points) == 0:
        return points[:, :2]
    perplexity = min(30.0, (len(points) - 1) / 3)
    scale = points[:, 0].std() or 1.0
    tsne = TSNE(perplexity=perplexity, init="pca", max_iter=750, random_state=seed, n_jobs=1)
    # with all cores, scikit-learn is ten times slower on a shared machine, and the figure depends on their number
    with threadpool_limits(limits=1):
        return tsne.fit_transform((points / scale).astype(np.float32))


def _point_colour(colours: np.ndarray, label: int) -> tuple[float, ...]:
    return tuple(colours[label]) if 0 <= label < len(colours) else to_rgb("#a8a8a8")


def _scatter(ax: Axes, points: np.ndarray, order: np.ndarray, colours: Sequence[Any], is_target: np.ndarray) -> None:
    """Draw circles for the source and crosses for the target, interleaved at random."""
    # a scatter plot has a single marker, so the two domains are interleaved in a few slices
    for chunk in np.array_split(order, min(12, len(order))):
        for domain, marker, size, width in ((False, "o", 15, 0.0), (True, "x", 15, 1.0)):
            chosen = chunk[is_target[chunk] == domain]
            if len(chosen):
                ax.scatter(
                    points[chosen, 0], points[chosen, 1], s=size, marker=marker, linewidths=width, alpha=0.7,
                    c=[colours[i] for i in chosen],
                )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.margins(0.04)


def _name_clusters(
    ax: Axes,
    points: np.ndarray,
    labels: np.ndarray,
    is_target: np.ndarray,
    class_names: Sequence[str],
    colours: np.ndarray,
) -> None:
    """Label each class in the middle of its source points, or of its target points if it has no source points."""
    from matplotlib.patheffects import withStroke

    places = {}
    for label in range(len(class_names)):
        own = points[(labels == label) & ~is_target]
        own = own if len(own) else points[labels == label]
        if len(own):
            # the point with the smallest median distance to its class, because a mean may lie between two clusters
            distance = np.linalg.norm(own[:, None] - own[None], axis=2)
            places[label] = own[np.median(distance, axis=1).argmin()]
    if not places:
        return
    names = [shortened(str(class_names[label]), 12) for label in places]
    ax.set_xlim(ax.get_xlim())  # fixes the limits, which matplotlib computes lazily
    ax.set_ylim(ax.get_ylim())
    where = ax.transLimits.transform(np.array(list(places.values())))
    where = boxes_apart(where, np.array([0.018 * len(name) + 0.008 for name in names]), 0.034)
    for label, name, (x, y) in zip(places, names, where, strict=True):
        ax.text(
            x, y, name, transform=ax.transAxes, ha="center", va="center", fontsize=9, fontweight="bold",
            color=darker(colours[label], 0.45), path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _class_legend(
    figure: Figure, axes: np.ndarray, class_names: Sequence[str], colours: np.ndarray, unlabelled: bool, title: str
) -> None:
    if len(class_names) > _MANY_CLASSES:
        scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, len(class_names) - 1))
        scale.set_cmap(ListedColormap(list(colours)))
        bar = figure.colorbar(scale, ax=axes[:, 0], shrink=0.6, aspect=30, label=f"{title}, in the order of the names")
        bar.outline.set_visible(False)
        return
    handles = [Line2D([], [], ls="", marker="s", ms=7, color=colour) for colour in colours]
    names = [shortened(str(name), 18) for name in class_names]
    if unlabelled:
        handles.append(Line2D([], [], ls="", marker="x", ms=5, color="#a8a8a8"))
        names.append("target (no labels)")
    figure.legend(handles, names, loc="outside right upper", title=title, alignment="left")


def _domain_legend(figure: Figure, n: int, m: int) -> None:
    handles = [
        Line2D([], [], ls="", marker="o", ms=5.5, mew=0, color=SOURCE),
        Line2D([], [], ls="", marker="x", ms=5, color=TARGET),
    ]
    names = [f"source ({n:,} points)", f"target ({m:,} points)"]
    figure.legend(handles, names, loc="outside lower center", ncols=2)
