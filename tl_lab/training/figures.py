"""The figures of a tested strategy: its predictions on each test set, and an embedding of two domains' features."""

from typing import TYPE_CHECKING, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from tl_lab.data.names import SetName
from tl_lab.evaluation import ClassificationMeter, MultiLabelMeter, RegressionMeter, SeveralMeter
from tl_lab.evaluation.multi_label import scores_by_label
from tl_lab.evaluation.sequence import tags_of
from tl_lab.results.figures.answers import answered_passages
from tl_lab.results.figures.confusion import confusion_matrix
from tl_lab.results.figures.embedding import PairFeatures, decision_boundary, domain_embedding
from tl_lab.results.figures.labels import label_confusion, label_scores, labels_together
from tl_lab.results.figures.pages import tagged_pages
from tl_lab.results.figures.regression import prediction_scatter
from tl_lab.results.figures.texts import TextPoints, text_points
from tl_lab.training.explaining import figures_of_maps, figures_of_spectrograms
from tl_lab.training.feature_reader import FeatureReader

if TYPE_CHECKING:
    from tl_lab.data.base import DataModule
    from tl_lab.training.measuring import Measuring

__all__ = ["confusion_of", "features_of_pair", "figures_of_pair", "figures_of_sets", "points_of_texts"]

_GRID_POINTS = 200  # points along each side of the plane
_TEXTS = 300  # texts of a test set in the embedding; t-SNE of this number takes two seconds
_POINTS = 500  # samples of each domain in the embedding: enough to show its shape, few enough for t-SNE


def figures_of_sets(strategy: "Measuring", data: "DataModule") -> dict[str, Figure]:
    """Draw the predictions on each test set: a confusion matrix, scores by label, or predicted against true numbers.

    Args:
        strategy: the tested strategy.
        data: the run's data.

    Returns:
        Figures by name.
    """
    figures: dict[str, Figure] = {}
    for name in data.test_names:
        meter, what, where = strategy.meters[name], _tested(name), SetName.parse(name).file
        for task, part in data.problem.tasks.items():
            names = part.problem.output_names
            figures |= _of_meter(cast(SeveralMeter, meter).of(task), names, f"{task}, {what}", f"{task}_{where}")
        if not data.problem.tasks:
            figures |= _of_meter(meter, data.class_names, what, where)
    figures |= _of_pages(strategy, data) | _of_answers(strategy, data)
    if getattr(data, "modality", "") == "audio":
        figures |= figures_of_spectrograms(strategy, data)
    return figures | (figures_of_maps(strategy, data) if getattr(data, "screens", False) else {})


@torch.no_grad()
def points_of_texts(strategy: "Measuring", data: "DataModule") -> TextPoints | None:
    """Embed up to 300 texts of the last test set in the plane; return None for other data or for outputs per word.

    Args:
        strategy: the tested strategy, on its device.
        data: the run's data.
    """
    name = data.test_names[-1] if data.test_names else ""
    strings, samples = getattr(data, "strings", {}).get(name), data.sets.get(name)
    answered = not (data.problem.of_places or data.problem.tasks)
    if strings is None or samples is None or samples.y is None or not strategy.trains or not answered:
        return None
    index = torch.arange(min(_TEXTS, len(strings)))
    reader = FeatureReader(strategy.network, data, device=strategy.device, adaptation=strategy.adaptation)
    reader.prepare(data.domain_of(name))
    features = reader.read(name, "head", index=index)
    answers = data.problem.words(data.problem.predict(reader.classify(features).cpu()).values)
    groups = data.problem.groups(samples.y.cpu()[index])
    texts = [strings.items[i] for i in index.tolist()]
    return text_points(features.float().cpu().numpy(), groups.number, texts, groups.names, groups.word, answers)


def _of_meter(meter: nn.Module, names: list[str], what: str, where: str) -> dict[str, Figure]:
    """Draw the predictions on one set for one task."""
    if isinstance(meter, ClassificationMeter) and hasattr(meter, "last_confusion"):
        return {f"confusion_{where}": confusion_matrix(meter.last_confusion, names, f"Confusion matrix, {what}")}
    if isinstance(meter, MultiLabelMeter) and len(meter.last_labels):
        return {f"{kind}_{where}": figure for kind, figure in _of_labels(meter, names, what).items()}
    if isinstance(meter, RegressionMeter) and len(meter.last_targets):
        title = f"Predicted against true values, {what}"
        return {
            f"predictions_{where}": prediction_scatter(meter.last_targets, meter.last_predicted, names, title=title)
        }
    return {}


def _of_pages(strategy: "Measuring", data: "DataModule") -> dict[str, Figure]:
    """Draw the first pages of each test set, if the data are pages."""
    if not hasattr(data, "pages"):
        return {}
    kinds = list(dict.fromkeys(name.partition("-")[2] for name in data.class_names if name != "O"))
    reader, figures = FeatureReader(strategy.network, data, device=strategy.device), {}
    for name in data.test_names:
        pages, y = data.pages[name], data.sets[name].y
        assert y is not None
        index = torch.arange(min(3, len(pages)))
        outputs = next(iter(reader.stream(name, "outputs", index=index))).values.cpu()
        answers = data.problem.predict(outputs).values
        predicted, true = tags_of(answers, y.cpu()[index][:, : outputs.shape[1]], data.class_names)
        drawn = [(pages.items[k].words, pages.items[k].boxes) for k in index.tolist()]
        predicted, true = ([[tag.partition("-")[2] for tag in row] for row in tags] for tags in (predicted, true))
        title = f"Fields, {_tested(name)}"
        figures[f"pages_{SetName.parse(name).file}"] = tagged_pages(drawn, predicted, true, kinds, title)
    return figures


def _of_answers(strategy: "Measuring", data: "DataModule") -> dict[str, Figure]:
    """Draw the first questions of each test set with their answers, if the data are passages."""
    if getattr(data, "modality", "") != "passage":
        return {}
    reader, figures = FeatureReader(strategy.network, data, device=strategy.device), dict[str, Figure]()
    for name in data.test_names:
        y = data.sets[name].y
        assert y is not None
        index = torch.arange(min(3, len(y)))
        outputs = next(iter(reader.stream(name, "outputs", index=index))).values.cpu()
        if shown := data.problem.answered(outputs, y.cpu()[index]):
            figures[f"answers_{SetName.parse(name).file}"] = answered_passages(shown, f"Answers, {_tested(name)}")
    return figures


def _tested(name: str) -> str:
    """Describe a tested set in words; ``target/test`` is the ``test set of the target``."""
    of = " ".join(filter(None, SetName.parse(name)[:2]))
    return f"test set of {'the ' if of in ('source', 'target') else ''}{of}" if of else "test set"


def _of_labels(meter: MultiLabelMeter, class_names: list[str], what: str) -> dict[str, Figure]:
    """Draw three figures, in which labels are in descending order of their AUROC."""
    found = scores_by_label(meter.last_probabilities, meter.last_labels)
    order = found["auroc"].nan_to_num(-1.0).argsort(descending=True, stable=True)
    p, y = meter.last_probabilities[:, order], meter.last_labels[:, order].int()
    names, predicted = [class_names[k] for k in order.tolist()], (p >= 0.5).int()
    scores = {
        name: {"auroc": float(found["auroc"][k]), "ap": float(found["map"][k])}
        for name, k in zip(names, order.tolist(), strict=True)
    }
    return {
        "labels": label_scores(scores, found["prevalence"][order], f"Scores by label, {what}"),
        "label_errors": label_confusion(y, predicted, names, f"Errors by label, {what}"),
        "labels_together": labels_together(y, predicted, names, f"Labels that go together, {what}"),
    }


def confusion_of(strategy: "Measuring", name: str) -> Tensor:
    """Return the confusion matrix of the set's last test, ``(C, C)``."""
    return strategy.meters[name].last_confusion  # type: ignore[return-value]


def figures_of_pair(strategy: "Measuring", data: "DataModule") -> dict[str, Figure]:
    """Draw an embedding of both domains' features and, if the data are points in the plane, the decision boundary.

    Args:
        strategy: the tested strategy, on its device.
        data: a domain pair.

    Returns:
        Figures by name.
    """
    figures = {"domain_embedding": domain_embedding(*features_of_pair(strategy, data))}
    if data.shape == (2, 1, 1) and data.problem.numbers_outputs:
        figures["decision_boundary"] = _boundary(strategy, data, _scored_target(data))
    return figures


def features_of_pair(strategy: "Measuring", data: "DataModule") -> PairFeatures:
    """Compute features of up to 500 samples of each domain, with their labels, from the test sets if there are any.

    Args:
        strategy: the tested strategy, on its device.
        data: a domain pair.
    """
    source_features, source_labels = _features(strategy, data, "source/test")
    target_features, target_labels = _features(strategy, data, _scored_target(data))
    assert source_labels is not None
    known = source_labels if target_labels is None else torch.cat([source_labels, target_labels])
    groups = data.problem.groups(known)
    return PairFeatures(
        source_features.numpy(),
        groups.number[: len(source_labels)].numpy(),
        target_features.numpy(),
        None if target_labels is None else groups.number[len(source_labels) :].numpy(),
        groups.names,
        groups.word,
    )


def _scored_target(data: "DataModule") -> str:
    return "target/test" if "target/test" in data.sets else "target/train"


@torch.no_grad()
def _boundary(strategy: "Measuring", data: "DataModule", target: str) -> Figure:
    strategy.eval()
    strategy.network.use("target")
    points = {name: data.sets[name].x.cpu()[:_POINTS] for name in ("source/test", target)}  # type: ignore[union-attr]
    labels = {name: None if (y := data.sets[name].y) is None else y.cpu()[:_POINTS] for name in points}
    low, high = (getattr(torch.cat(list(points.values())), way)(0).values for way in ("min", "max"))
    margin = 0.15 * (high - low)
    across, down = (
        torch.linspace(float(low[i] - margin[i]), float(high[i] + margin[i]), _GRID_POINTS) for i in range(2)
    )
    plane = torch.cartesian_prod(down, across).flip(1).to(strategy.device)  # (H W, 2), x first
    p = strategy.network(plane).softmax(1).view(_GRID_POINTS, _GRID_POINTS, -1).cpu()
    return decision_boundary(
        points["source/test"],
        labels["source/test"],
        points[target],
        labels[target],
        (across, down),
        p,
        data.class_names,
    )


def _features(strategy: "Measuring", data: "DataModule", name: str) -> tuple[Tensor, Tensor | None]:
    reader = FeatureReader(strategy.network, data, device=strategy.device)
    features: list[Tensor] = []
    positions: list[Tensor] = []
    for part in reader.stream(name, shared=True):
        features.append(part.values.float().cpu())
        positions.append(part.index.cpu())
        if sum(len(part) for part in features) >= _POINTS:
            break
    y = data.sets[name].y
    return torch.cat(features)[:_POINTS], None if y is None else y.cpu()[torch.cat(positions)[:_POINTS]]
