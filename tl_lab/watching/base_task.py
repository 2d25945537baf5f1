"""Forgetting caused by fine-tuning: scores of a backbone on an earlier task, before and after.

A language model is scored on the last words of LAMBADA's passages, a text encoder on similarities of STS-B's
sentences, an ImageNet network on photographs of Office-Caltech10 with its own classifier, and a backbone that starts
from an earlier run on that run's classes, by a linear probe. Each is a fixed small sample, never used for selection.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tl_lab.backbones.base import Backbone
from tl_lab.backbones.hf_causal import HFCausal
from tl_lab.backbones.hf_text import HFText
from tl_lab.data.base import DataModule
from tl_lab.data.encodings import read_text
from tl_lab.data.inputs.operations import Inputs, move
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.request import Request
from tl_lab.data.roots import find_root
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.problems import SingleLabel
from tl_lab.training.feature_reader import FeatureReader, evaluating

__all__ = ["BaseTask", "base_task", "label_mapped", "last_words", "probed_source", "similar_sentences"]

_PASSAGES, _PAIRS, _PHOTOGRAPHS, _PROBED = 40, 150, 100, 1000
_BATCH = 20


@dataclass(frozen=True)
class BaseTask:
    """A task on which the initial weights of a run were trained.

    Args:
        description: what is measured, in words.
        metric: name of the score, which determines its unit (see :mod:`tl_lab.results.names`).
        score: function that scores a backbone without changing it.
    """

    description: str
    metric: str
    score: Callable[[Backbone], float]


def base_task(backbone: Backbone, source: DataModule | None) -> BaseTask | None:
    """Find a task on which the weights of a backbone were trained.

    Args:
        backbone: the backbone with these weights.
        source: data of the run from which the backbone starts; None if it starts from published weights.

    Returns:
        The task, or None if none is known or its data are not available.
    """
    try:
        if source is not None:
            return probed_source(source)
        if isinstance(backbone, HFCausal):
            return last_words(find_root(None, "LAMBADA", "") / "lambada" / "lambada_test_plain_text.txt")
        if isinstance(backbone, HFText):
            return similar_sentences()
        if backbone.classifier() is not None:
            return label_mapped(find_root(None, "Office-Caltech10", "") / "office_caltech10" / "images" / "dslr")
    except UserError:  # data that are not available
        return None
    return None


# ---------------------------------------------------------------------- language models


def last_words(path: Path) -> BaseTask | None:
    """Score a language model on the last words of passages: the mean of -log p(word | all before it), in nats.

    Args:
        path: file with LAMBADA's passages, one per line.

    References:
        D. Paperno et al., "The LAMBADA dataset: Word prediction requiring a broad discourse context", ACL 2016.
        https://arxiv.org/abs/1606.06031
    """
    if not path.is_file():
        return None
    passages = [line.strip() for line in read_text(path).splitlines() if " " in line.strip()]
    chosen = _spread(passages, _PASSAGES)

    def score(backbone: Backbone) -> float:
        model = cast(HFCausal, backbone)
        with torch.no_grad(), evaluating(model):
            return sum(_last_word(model, text) for text in chosen) / len(chosen)

    return BaseTask(f"-log p of the last word of {len(chosen)} passages of LAMBADA", "loss", score)


def _last_word(model: HFCausal, text: str) -> float:
    """Compute -log p of all tokens of a passage's last word."""
    before, _, word = text.rpartition(" ")
    context, ending = model.tokeniser.whole(before), model.tokeniser.pieces(f" {word}")
    context = context[-(model.max_context - len(ending)) :]
    ids = torch.tensor([[*context, *ending]], device=_device(model))
    states, _ = model.read(ids, torch.ones_like(ids))
    log_p = model.next_token(states[0, len(context) - 1 : -1])
    return -float(log_p.gather(1, ids[0, len(context) :, None]).sum())


# ---------------------------------------------------------------------- text encoders


def similar_sentences() -> BaseTask | None:
    """Score a text encoder by the Spearman correlation of its features' cosines with STS-B's similarities."""
    from tl_lab.data.sets.text_corpora import StsB, similarities

    samples, _ = similarities(StsB(seed=0), "test")
    places = torch.tensor(_spread(range(len(samples)), _PAIRS))
    texts = cast(Texts, samples.x).items
    pairs = [cast(tuple[str, str], texts[place]) for place in places.tolist()]
    truth = cast(Tensor, samples.y)[places].flatten()

    def score(backbone: Backbone) -> float:
        first, second = (_embedded(backbone, [pair[side] for pair in pairs]) for side in (0, 1))
        return _spearman(torch.nn.functional.cosine_similarity(first, second), truth)

    return BaseTask(f"Spearman's correlation of cosines with {len(pairs)} similarities of STS-B", "spearman", score)


def _embedded(backbone: Backbone, texts: Sequence[str]) -> Tensor:
    """Return the features of texts, ``(N, D)``."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    parts = []
    with torch.no_grad(), evaluating(backbone):
        for start in range(0, len(order), _BATCH):
            inputs: Inputs = backbone.spec.fit([texts[place] for place in order[start : start + _BATCH]])
            parts.append(backbone(move(inputs, _device(backbone))).float().cpu())
    return torch.cat(parts)[torch.tensor(order).argsort()]


def _spearman(x: Tensor, y: Tensor) -> float:
    from torchmetrics.functional.regression import spearman_corrcoef

    return float(spearman_corrcoef(x.double(), y.double()))


# ---------------------------------------------------------------------- ImageNet networks


def label_mapped(folder: Path) -> BaseTask | None:
    """Score an ImageNet network by the accuracy of its own classifier on photographs of its classes.

    Args:
        folder: contains class folders; ``conf/experiment/zero_shot/office_caltech10.yaml`` maps the names to classes.
    """
    if not folder.is_dir():
        return None
    from tl_lab.config import conf_dir
    from tl_lab.config.stored import read_yaml
    from tl_lab.data.sets.image_folder import ImageFolder
    from tl_lab.strategies.zero_shot import label_groups

    given = read_yaml(conf_dir() / "experiment" / "zero_shot" / "office_caltech10.yaml")["strategy"]["label_map"]
    label_map = {name: [one] if isinstance(one, str) else list(one) for name, one in given.items()}
    data = ImageFolder(root=str(folder), split="random", workers=0, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its parts are reassembled
        data.load(Request())
    samples = Samples.concatenate([data.sets[name] for name in ("train", "val", "test")])
    shown = [number for number, name in enumerate(data.class_names) if label_map[name]]
    known = torch.isin(cast(Tensor, samples.y), torch.tensor(shown)).nonzero().flatten()
    drawn = samples.subset(torch.tensor(_spread(known.tolist(), _PHOTOGRAPHS)))

    problem = SingleLabel([data.class_names[number] for number in shown])
    truth = torch.searchsorted(torch.tensor(shown), cast(Tensor, drawn.y).cpu())

    def score(backbone: Backbone) -> float:
        classifier = backbone.classifier()
        assert classifier is not None
        groups = label_groups(data.class_names, classifier, label_map)
        features = _features(backbone, data, drawn)
        logits = features @ classifier.weight.float().cpu().T + classifier.bias.float().cpu()
        of_class = torch.stack([logits[:, groups[number]].amax(1) for number in shown], dim=1)
        return float(problem.batch_scores(of_class, truth)[problem.monitor].float().mean())

    description = f"accuracy of ImageNet's classifier on {len(drawn)} photographs of {len(shown)} of its classes"
    return BaseTask(description, problem.monitor, score)


# ---------------------------------------------------------------------- backbones of earlier runs


def probed_source(data: DataModule) -> BaseTask | None:
    """Score a backbone by a logistic regression on its features of an earlier run's data.

    Args:
        data: loaded data of that run: the regression is fitted to the training set and scored on the test set.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = data.primary, next((name for name in data.test_names if name in data.sets), None)
    if test is None or not data.problem.numbers_outputs:
        return None
    drawn = {name: _drawn(data.sets[name]) for name in (train, test)}

    def score(backbone: Backbone) -> float:
        x = {name: _features(backbone, data, samples).double().numpy() for name, samples in drawn.items()}
        y = {name: cast(Tensor, samples.y).cpu().numpy() for name, samples in drawn.items()}
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a nearly converged boundary suffices
            probe.fit(x[train], y[train])
        return float(probe.score(x[test], y[test]))

    description = f"accuracy of a linear probe on {len(drawn[test])} samples of the earlier run's data"
    return BaseTask(description, data.problem.monitor, score)


# ---------------------------------------------------------------------- shared


def _features(backbone: Backbone, data: DataModule, samples: Samples) -> Tensor:
    """Compute a backbone's features of samples, ``(N, D)``, from loaded data."""
    served = data.serving({data.primary: Samples(samples.x, samples.y)}, backbone.spec)
    network = Network(backbone, max(2, len(data.class_names)), seed=0)
    reader = FeatureReader(network, served, device=_device(backbone))
    return reader.read(data.primary, "backbone", cached=False).float().cpu()


def _drawn(samples: Samples) -> Samples:
    return samples.subset(torch.tensor(_spread(range(len(samples)), _PROBED)))


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Choose evenly spaced items, always the same ones."""
    step = max(1.0, len(items) / count)
    return [items[math.floor(step * place)] for place in range(min(count, len(items)))]


def _device(module: torch.nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
