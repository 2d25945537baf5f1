"""What benchmarks/assess.py measures of layers, negative transfer, amplification in tables, and drift."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tl_lab.assess.asking import read
from tl_lab.assess.baselines import negative
from tl_lab.assess.detectors import detect, reference_of
from tl_lab.assess.layers import activations, transferred
from tl_lab.assess.material import Material
from tl_lab.assess.probes import fit_probe
from tl_lab.assess.results import Measure, mean_with_interval, wilson
from tl_lab.assess.tuning import Task, copied, fresh, halves, tune
from tl_lab.data.roots import places_of
from tl_lab.randomness import generator
from tl_lab.texts import listed


@dataclass(frozen=True)
class Finding:
    """What was measured.

    Args:
        question: that it answers.
        head, rows: of the table.
        answer: in a sentence.
    """

    question: str
    head: list[str]
    rows: list[list[str]]
    answer: str


def material_of(*overrides: str) -> Material:
    """Read data and build backbones."""
    asked = read(overrides)
    return Material(asked.plans, asked.options)


def points(one: Measure) -> str:
    """Write a difference of shares in points with its interval, under a head that says so."""
    return one.points().replace(" points", "")


# ---------------------------------------------------------------------- layers and negative transfer


def layers(seeds: int = 5) -> Finding:
    """Carry layers from the digits 0 to 4 over to 5 to 9, with many and with few labels; flag what harms."""
    rows: list[list[str]] = []
    phrases = []
    for labels in (400, 50):
        words = ["data=digits", "backbone=mlp", "backbone.hidden=[128,128,128]", "assess=layers", "assess.samples=2000"]
        material = material_of(*words, f"assess.seeds={seeds}", "assess.epochs=40", f"assess.budgets=[{labels}]")
        base, ways = transferred(material, material.subjects[0])
        rows.append([str(labels), "base", "", f"{100 * np.mean(base):.1f}", "", ""])
        flagged = []
        for way, by_layer in ways.items():
            for count, values in by_layer.items():
                difference = mean_with_interval(np.subtract(values, base).tolist())
                flag = "flag" if negative(difference) else "no flag"
                rows.append([str(labels), way, str(count), f"{100 * np.mean(values):.1f}", points(difference), flag])
                flagged += [str(count)] if way == "AnB+" and flag == "flag" else []
        where = f"{listed(flagged)} layers" if flagged else "no number of layers"
        phrases.append(f"with {labels} labels, AnB+ is flagged for {where}")
    return Finding(
        "Which layers of a perceptron transfer from digits 0-4 to 5-9, and when does transfer harm?",
        ["labels", "network", "layers transferred", "accuracy on B, %", "- base, points (95 %)", "negative transfer"],
        rows,
        f"{seeds} seeds, three hidden layers of 128. A flag means that the whole interval lies below zero: "
        f"{'; '.join(phrases)}.",
    )


def label_draws(seeds: int = 5, labels: int = 50) -> Finding:
    """Draw few labels at random, or the same number of each class, and compare the accuracies."""
    material = material_of("data=digits", "backbone=mlp", "backbone.hidden=[128,128,128]", "assess=layers",
                           "assess.samples=2000")  # fmt: skip
    (subject,) = material.subjects
    a, b = halves(material, subject)
    base: dict[str, list[float]] = {}
    rows: list[list[str]] = []
    for way, few in (("at random", Task.few), ("the same number of each class", _evenly)):
        found: dict[int, list[float]] = {1: [], 2: [], 3: []}
        base[way] = []
        for seed in range(seeds):
            few_b = few(b, labels, seed)
            on_a = tune(fresh(material, subject, seed), few(a, labels, seed), epochs=40, seed=seed).backbone
            base[way].append(tune(fresh(material, subject, seed + 1000), few_b, epochs=40, seed=seed).accuracy)
            for count, values in found.items():
                mixed = copied(on_a, fresh(material, subject, seed + 2000), count)
                values.append(tune(mixed, few_b, epochs=40, seed=seed + 1).accuracy)
        rows.append([way, "base", mean_with_interval(base[way]).text(percent=True), "", ""])
        for count, values in found.items():
            difference = mean_with_interval(np.subtract(values, base[way]).tolist())
            flag = "flag" if negative(difference) else "no flag"
            rows.append(
                [way, f"AnB+, {count}", mean_with_interval(values).text(percent=True), points(difference), flag]
            )
    at_random, evenly = base.values()
    gain = mean_with_interval(np.subtract(evenly, at_random).tolist())
    return Finding(
        f"The {labels} labels of digits 5-9 drawn at random, or the same number of each class: what does this change?",
        ["labels drawn", "network", "accuracy on B (95 %)", "- base, points (95 %)", "negative transfer"],
        rows,
        f"{seeds} seeds, paired; drawing the same number of each class changes the base by {gain.points()}: "
        f"{'undecided' if (gain.low or 0) <= 0 <= (gain.high or 0) else 'decided'}.",
    )


def _evenly(task: Task, labels: int, seed: int) -> Task:
    """Keep as many training labels of each class."""
    kept = []
    for c in range(task.classes):
        places = (task.y_train == c).nonzero()[:, 0]
        order = torch.randperm(len(places), generator=generator(seed, "even labels", c))
        kept.append(places[order[: labels // task.classes]])
    index = torch.cat(kept)
    return replace(task, train_index=task.train_index[index], y_train=task.y_train[index])


def pixels_or_features(draws: int = 10) -> Finding:
    """Compare logistic regressions on frozen features and on pixels of X-rays, over draws of labels."""
    material = material_of(
        "data=pneumonia_xray", "backbone=efficientnet_lite0", "assess=transferability", "assess.samples=3000"
    )
    features = [material.features(material.subjects[0], name) for name in ("train", "test")]
    raw = [torch.as_tensor(material.drawn[name].x).float().flatten(1) for name in ("train", "test")]
    y, w = material.labels("train"), material.labels("test")
    rows, phrases = [], []
    for labels in (50, 200, len(y)):
        scores: dict[str, list[tuple[float, float]]] = {"features": [], "pixels": []}
        for k in range(draws if labels < len(y) else 1):
            index = torch.randperm(len(y), generator=generator(k, "x-rays", labels))[:labels]
            for name, (train, test) in (("features", features), ("pixels", raw)):
                logits = fit_probe(train[index], y[index]).logits(test, 2)
                scores[name].append((float((logits.argmax(1) == w).double().mean()), _auc(logits[:, 1], w)))
        means = {name: np.mean(found, axis=0) for name, found in scores.items()}
        gap = mean_with_interval([a[0] - b[0] for a, b in zip(*scores.values(), strict=True)])
        interval = points(gap) if gap.low is not None else f"{100 * gap.value:+.1f}"
        cells = [f"{100 * accuracy:.1f} / {auc:.3f}" for accuracy, auc in means.values()]
        rows.append([f"{labels:,}", str(len(scores["pixels"])), *cells, interval])
        if gap.low is not None and gap.high is not None:
            how = "negative transfer" if gap.high < 0 else "transfer helps" if gap.low > 0 else "undecided"
            phrases.append(f"{labels} labels: {how}")
    return Finding(
        "X-rays at 28 pixels: frozen EfficientNet-Lite0 against raw pixels, logistic regressions",
        ["labels", "draws", "features, accuracy / AUC", "pixels", "difference, points (95 %)"],
        rows,
        f"{'; '.join(phrases)}.",
    )


def _auc(scores: Tensor, y: Tensor) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y.numpy(), scores.numpy()))


# ---------------------------------------------------------------------- amplification


def amplification(seeds: int = 10, size: int = 2000) -> Finding:
    """Tune on a subset of Adult in which few women earn much, and on a balanced one, from the same base."""
    material = material_of(
        "data=adult", "backbone=mlp", "assess=bias", "assess.samples=40000", "data.trees=false", "assess.epochs=5"
    )
    subject = material.subjects[0]
    y, group = material.labels("train"), material.drawn["train"].columns["group"]
    test_y, test_group = material.labels("test"), material.drawn["test"].columns["group"]
    names = getattr(material.data, "column_values")["group"]  # noqa: B009
    woman = names.index("Female")
    data = material.prepared(subject, ["train", "test"])
    everyone = torch.arange(len(test_y))
    gaps: dict[str, dict[str, list[float]]] = {
        way: {"TPR": [], "selected": []} for way in ("base", "skewed", "balanced")
    }
    for seed in range(seeds):
        order = torch.randperm(len(y), generator=generator(seed, "adult"))
        half = len(order) // 2
        cells = {
            (g, c): [i for i in order[half:].tolist() if bool(group[i] == woman) == g and int(y[i]) == c]
            for g, c in itertools.product((True, False), (0, 1))
        }
        quarter = size // 4
        few = quarter // 10
        skewed = [*cells[True, 1][:few], *cells[True, 0][: 2 * quarter - few]]
        skewed += [*cells[False, 1][: 2 * quarter - few], *cells[False, 0][:few]]
        balanced = [i for cell in cells.values() for i in cell[:quarter]]
        start = tune(
            fresh(material, subject, seed), _rows_of(data, order[:3000], y, everyone, test_y), epochs=5, seed=seed
        )
        ways = {"base": start}
        for way, index in (("skewed", skewed), ("balanced", balanced)):
            task = _rows_of(data, torch.tensor(index), y, everyone, test_y)
            ways[way] = tune(start.backbone, task, epochs=5, seed=seed)
        for way, tuned in ways.items():
            with torch.no_grad():
                parts = [tuned.head(tuned.backbone(data.inputs_at("test", part))) for part in everyone.split(2000)]
            chosen = torch.cat(parts).argmax(1) == 1
            for rate, among in (("TPR", test_y == 1), ("selected", test_y >= 0)):
                shares = [float(chosen[among & ((test_group == woman) == g)].double().mean()) for g in (False, True)]
                gaps[way][rate].append(shares[0] - shares[1])
    rows, phrases = [], []
    for rate in ("TPR", "selected"):
        over_base = {
            way: mean_with_interval(np.subtract(gaps[way][rate], gaps["base"][rate]).tolist())
            for way in ("skewed", "balanced")
        }
        difference = mean_with_interval(np.subtract(gaps["skewed"][rate], gaps["balanced"][rate]).tolist())
        rows.append(
            [rate, f"{100 * np.mean(gaps['base'][rate]):+.1f}", *(points(one) for one in over_base.values()),
             points(difference)]
        )  # fmt: skip
        phrases.append(f"{rate} {points(difference)}")
    return Finding(
        "Adult: does tuning on a subset in which few women earn much widen the gap between men and women?",
        ["rate", "base, men - women", "tuned on skewed - base (95 %)", "tuned on balanced - base", "skewed - balanced"],
        rows,
        f"In points over {seeds} seeds, {size:,} rows for tuning; the effect of the skew is {', '.join(phrases)}.",
    )


def _rows_of(data: Any, index: Tensor, y: Tensor, test_index: Tensor, test_y: Tensor) -> Task:
    return Task(data, "train", "test", index, test_index, y[index], test_y, 2)


# ---------------------------------------------------------------------- drift


def years(draws: int = 200, alpha: float = 0.05) -> Finding:
    """Hold STS-B's later years against earlier ones, and halves of one period against each other."""
    columns = ["genre", "file", "year", "id", "score", "one", "two"]
    tables = []
    for part in ("train", "dev", "test"):
        (path,) = [one for one in places_of(f"glue/stsb/sts-{part}.tsv") if one.exists()][:1]
        table = pd.read_csv(path, sep="\t", quoting=3, header=None, dtype=str, on_bad_lines="skip", usecols=range(7))
        tables.append(table.set_axis(columns, axis=1))
    whole = pd.concat(tables)
    whole["year"] = whole["year"].str.extract(r"(\d{4})", expand=False)
    subject = material_of("data=sst2", "backbone=hf_text", "assess=bias", "assess.samples=50").subjects[0]
    periods = {"2012 to 2013": ["2012", "2013"], "2014": ["2014"], "2015": ["2015"], "2016 to 2017": ["2016", "2017"]}
    features: dict[str, Tensor] = {}
    for name, wanted in periods.items():
        chosen = whole[whole["year"].isin(wanted) & whole["one"].notna()].sample(600, random_state=0)
        texts = chosen["one"].tolist()
        with torch.no_grad():
            spec = subject.backbone.spec
            features[name] = torch.cat([subject.backbone(spec.prepare(texts[i : i + 50])) for i in range(0, 600, 50)])
    first = features["2012 to 2013"]
    rows = [_held_against(first[:300], other[:300], name) for name, other in list(features.items())[1:]]
    draw, alarms = torch.Generator().manual_seed(0), 0
    for _ in range(draws):
        order = torch.randperm(600, generator=draw)
        alarms += _detected(first[order[:300]], first[order[300:]], alpha).drifted
    rate = wilson(alarms, draws)
    bound = alpha + 2 * (alpha * (1 - alpha) / draws) ** 0.5
    rows.append(["random halves of 2012 to 2013", f"{alarms} of {draws} draws", "", rate.text(percent=True)])
    return Finding(
        "STS-B: do MiniLM's features show drift of later years from 2012 and 2013, and how frequent are false alarms?",
        ["period", "principal components that reject", "p of both detectors together", "false alarms (95 %)"],
        rows,
        f"False alarms in {rate.value:.1%} of {draws} null draws at a level of {alpha:g}; "
        f"{'at most' if rate.value <= bound else 'more than'} {bound:.3f}, the level plus two standard errors.",
    )


def _detected(old: Tensor, new: Tensor, alpha: float) -> Any:
    reference = reference_of(torch.zeros(len(old), 0), old)
    detectors = ("pca_ks", "pca_mmd")
    return detect(
        reference, np.zeros((len(new), 0)), reference.project(new), alpha=alpha, detectors=detectors, permutations=199
    )


def _held_against(old: Tensor, new: Tensor, name: str) -> list[str]:
    found = _detected(old, new, 0.05)
    one = found.detections["pca_ks"]
    p = f"{found.p:.1g}" if found.p >= 0.01 else "< 0.01" if found.p > 1e-4 else f"{found.p:.0e}"
    return [name, f"{one.rejected} of {one.dimensions}", p, ""]


# ---------------------------------------------------------------------- layers of Whisper


def whisper() -> Finding:
    """Fit linear probes for the digit and for the speaker to every layer of Whisper's encoder."""
    material = material_of("data=spoken_digits", "backbone=whisper", "assess=layers", "assess.samples=1000")
    subject, names = material.subjects[0], ("train", "test")
    data = material.prepared(subject, names)
    read_of = {name: activations(subject.backbone, data, name) for name in names}
    labels = {"digit": [material.labels(name) for name in names]}
    labels["speaker"] = [material.drawn[name].columns["group"] for name in names]
    rows: list[list[str]] = []
    found: dict[str, list[Tensor]] = {"digit": [], "speaker": []}  # whether each answer is right
    for group in read_of["train"]:
        cells = []
        for label, (y, w) in labels.items():
            answers = fit_probe(read_of["train"][group], y).logits(
                read_of["test"][group], int(max(y.max(), w.max())) + 1
            )
            right = answers.argmax(1) == w
            found[label].append(right.double())
            cells.append(wilson(int(right.sum()), len(w)).text(percent=True))
        rows.append([group, *cells])
    phrases = []
    for label, groups in found.items():
        change = mean_with_interval((groups[-1] - groups[0]).tolist())  # of the same samples
        low, high = change.low or 0, change.high or 0
        how = "rises" if low > 0 else "falls" if high < 0 else "undecided"
        phrases.append(f"the {label} {change.points()}: {how}")
    return Finding(
        "How well do the layers of Whisper tiny.en predict the spoken digit, and the speaker?",
        ["layer group", "digit, test (95 %)", "speaker"],
        rows,
        f"Change from the first group to the last, over the same samples: {'; '.join(phrases)}.",
    )
