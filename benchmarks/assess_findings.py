"""What benchmarks/assess.py measures: one function a finding."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tl_lab.assess import equity
from tl_lab.assess.asking import read
from tl_lab.assess.detectors import detect, reference_of
from tl_lab.assess.layers import activations, transferred
from tl_lab.assess.material import Material
from tl_lab.assess.pictures import curves
from tl_lab.assess.probes import fit_probe
from tl_lab.assess.results import Measure, PartResult, mean_with_interval, wilson
from tl_lab.assess.sentence_pairs import add_preferences
from tl_lab.assess.transferability import SCORES, agreement
from tl_lab.assess.tuning import Task, fresh, tune
from tl_lab.data.roots import places_of
from tl_lab.functional.calibration import calibration, temperature
from tl_lab.functional.domain_folds import folded_a_distance
from tl_lab.functional.gaussian_distance import frechet_distance, otdd
from tl_lab.functional.log_evidence import logme
from tl_lab.functional.two_samples import mmd_test
from tl_lab.randomness import generator

SAMPLES, WIDTH, CLASSES, BACKBONES, FOLDS = 5000, 512, 10, 4, 5


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


# ---------------------------------------------------------------------- speed


def speed() -> Finding:
    """Time the parts on features that were read."""
    (x, y), (z, w) = _features(0), _features(1)
    rows = [
        _timed(f"LogME, {SAMPLES:,} x {WIDTH}, {CLASSES} classes", 2, lambda: logme(x, y)),
        _timed("OTDD, 1,000 against 1,000", 30, lambda: otdd(x[:1000], y[:1000], z[:1000], w[:1000])),
        _timed(f"similarity, ranking of {BACKBONES} backbones, calibration, {SAMPLES:,} samples", 60, _parts),
    ]
    slow = [row[0] for row in rows if float(row[1]) > float(row[2])]
    answer = f"Above its limit: {', '.join(slow)}." if slow else "Each part stays below its limit."
    return Finding("How long do the parts take on one core?", ["part", "seconds", "limit"], rows, answer)


def _timed(said: str, limit: int, work: Callable[[], Any]) -> list[str]:
    began = time.process_time()
    work()
    return [said, f"{time.process_time() - began:.1f}", str(limit)]


def _features(seed: int) -> tuple[Tensor, Tensor]:
    draw = generator(seed, "benchmark of assess")
    y = torch.randint(CLASSES, (SAMPLES,), generator=draw)
    return torch.randn(SAMPLES, WIDTH, generator=draw) + 0.3 * torch.randn(CLASSES, WIDTH, generator=draw)[y], y


def _parts() -> None:
    for k in range(BACKBONES):
        (x, y), (z, w) = _features(2 * k), _features(2 * k + 1)
        folded_a_distance(x, z, FOLDS, 1000)
        mmd_test(x[:500], z[:500])
        frechet_distance(x[:2500], x[2500:])
        frechet_distance(x[:2500], z[:2500])
        otdd(x[:500], y[:500], z[:500], w[:500])
        otdd(x[:500], y[:500], x[500:1000], y[500:1000])
        fold = torch.arange(SAMPLES) % FOLDS
        for _, score in SCORES.values():
            score(x, y, True)
            for one in range(FOLDS):
                score(x[fold != one], y[fold != one], False)
    logits = fit_probe(x, y).logits(z, CLASSES)
    calibration((logits / temperature(logits, w)).softmax(1), w)


# ---------------------------------------------------------------------- layers and negative transfer


def layers(seeds: int = 5) -> Finding:
    """Carry layers from the digits 0 to 4 over to 5 to 9, with many and with few labels."""
    rows: list[list[str]] = []
    harmed: dict[int, list[int]] = {}
    for labels in (400, 50):
        words = ["data=digits", "backbone=mlp", "backbone.hidden=[128,128,128]", "assess=layers", "assess.samples=2000"]
        material = material_of(*words, f"assess.seeds={seeds}", "assess.epochs=40", f"assess.budgets=[{labels}]")
        base, ways = transferred(material, material.subjects[0])
        rows.append([str(labels), "base", f"{100 * np.mean(base):.1f}", "", "", ""])
        harmed[labels] = []
        for way, by_layer in ways.items():
            found = [mean_with_interval(np.subtract(values, base).tolist()) for values in by_layer.values()]
            rows.append([str(labels), way, *(f"{100 * np.mean(v):.1f}" for v in by_layer.values()), points(found[0])])
            if way == "AnB+":
                harmed[labels] = [n for n, one in enumerate(found, 1) if one.high is not None and one.high < 0]
    said = [
        f"with {labels} labels {f'layers {found} tuned from A are negative transfer' if found else 'none is'}"
        for labels, found in harmed.items()
    ]
    return Finding(
        "Which layers of a perceptron transfer from digits 0-4 to 5-9, and when does transfer harm?",
        ["labels", "way", "1 layer", "2 layers", "3 layers", "1 layer - base, points (95 %)"],
        rows,
        f"Accuracy on B in per cent over {seeds} seeds, three hidden layers of 128: {'; '.join(said)}.",
    )


def pixels_or_features(draws: int = 10) -> Finding:
    """Compare logistic regressions on frozen features and on pixels of X-rays, over draws of labels."""
    material = material_of(
        "data=pneumonia_xray", "backbone=efficientnet_lite0", "assess=transferability", "assess.samples=3000"
    )
    features = [material.features(material.subjects[0], name) for name in ("train", "test")]
    raw = [torch.as_tensor(material.drawn[name].x).float().flatten(1) for name in ("train", "test")]
    y, w = material.labels("train"), material.labels("test")
    rows, said = [], []
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
            said.append(f"{labels} labels: {how}")
    return Finding(
        "X-rays at 28 pixels: frozen EfficientNet-Lite0 against raw pixels, logistic regressions",
        ["labels", "draws", "features, accuracy / AUC", "pixels", "difference, points (95 %)"],
        rows,
        f"{'; '.join(said)}.",
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
    rows, said = [], []
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
        said.append(f"{rate} {points(difference)}")
    return Finding(
        "Adult: does tuning on a subset in which few women earn much widen the gap between men and women?",
        ["rate", "base, men - women", "tuned on skewed - base (95 %)", "tuned on balanced - base", "skewed - balanced"],
        rows,
        f"In points over {seeds} seeds, {size:,} rows to tune on; the skew itself: {', '.join(said)}.",
    )


def _rows_of(data: Any, index: Tensor, y: Tensor, test_index: Tensor, test_y: Tensor) -> Task:
    return Task(data, "train", "test", index, test_index, y[index], test_y, 2)


def emotions(seeds: int = 10, size: int = 600) -> Finding:
    """Fit a head for emotions to sentences in which anger is mostly women's, and to balanced ones."""
    (path,) = [one for one in places_of(equity.PLACE) if one.exists()][:1]
    parts = [rows for rows in equity.contexts(path) if rows[0]["Emotion"]]
    rows_of_all = [row for rows in parts for row in rows]
    subject = material_of("data=sst2", "backbone=hf_text", "assess=bias", "assess.samples=50").subjects[0]
    spec, texts = subject.backbone.spec, [row["Sentence"] for row in rows_of_all]
    with torch.no_grad():
        x = torch.cat([subject.backbone(spec.prepare(texts[i : i + 64])) for i in range(0, len(texts), 64)])
    kinds = ["anger", "fear", "joy", "sadness"]
    y = torch.tensor([kinds.index(row["Emotion"]) for row in rows_of_all])
    female = np.array([row["Gender"] == "female" for row in rows_of_all])
    words = np.array([row["Emotion word"] for row in rows_of_all])
    gaps: dict[str, list[float]] = {"skewed": [], "balanced": []}
    accuracy: dict[str, list[float]] = {"skewed": [], "balanced": []}
    for seed in range(seeds):
        draw = np.random.default_rng(seed)
        held_out = {
            word for kind in range(4) for word in draw.permutation(np.unique(words[(y == kind).numpy()]))[:3].tolist()
        }
        test = np.array([word in held_out for word in words])
        for way, share in (("skewed", 0.9), ("balanced", 0.5)):
            index = []
            for kind in range(4):
                women = round(size / 4 * (share if kinds[kind] == "anger" else 1 - share))
                for g, count in ((True, women), (False, size // 4 - women)):
                    pool = np.flatnonzero(~test & (female == g) & (y == kind).numpy())
                    index += draw.permutation(pool)[:count].tolist()
            probe = fit_probe(x[index], y[index])
            p = probe.logits(x[torch.from_numpy(test)], 4).softmax(1)
            anger, women = p[:, 0].numpy(), female[test]
            gaps[way].append(float(anger[women].mean() - anger[~women].mean()))
            accuracy[way].append(float((p.argmax(1) == y[torch.from_numpy(test)]).double().mean()))
    measures = {way: mean_with_interval(found) for way, found in gaps.items()}
    difference = mean_with_interval(np.subtract(gaps["skewed"], gaps["balanced"]).tolist())
    rows = [[way, f"{100 * np.mean(accuracy[way]):.1f}", points(one)] for way, one in measures.items()]
    rows.append(
        [
            "skewed - balanced",
            f"{100 * (np.mean(accuracy['skewed']) - np.mean(accuracy['balanced'])):+.1f}",
            points(difference),
        ]
    )
    return Finding(
        "Equity Evaluation Corpus: does a skew of anger towards women in the training set reach new emotion words?",
        ["training sentences", "accuracy, %", "P(anger), women - men, points (95 %)"],
        rows,
        f"A head on MiniLM's frozen features, {size} sentences, {seeds} seeds; the skew brings {points(difference)}.",
    )


def sentence_pairs(pairs: int = 200) -> Finding:
    """Ask SmolLM2 which sentence of a pair is likelier."""
    from tl_lab.backbones.hf_causal import HFCausal

    model, result = HFCausal().eval(), PartResult("", "")
    said = add_preferences(model, model.start_token, pairs, 0, result)
    rows = [list(map(str, row)) for table in result.tables for row in table.rows]
    names = [table.caption.partition(":")[0] for table in result.tables for _ in table.rows]
    return Finding(
        "Does SmolLM2-135M-Instruct prefer stereotyped sentences?",
        ["set", "kind", "pairs", "stereotyped preferred (95 %)"],
        [[name, *row] for name, row in zip(names, rows, strict=True)],
        " ".join(said),
    )


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
        "STS-B: have later years drifted from 2012 and 2013 by MiniLM's features, and how frequent are false alarms?",
        ["period", "principal components that reject", "p of both detectors together", "false alarms (95 %)"],
        rows,
        f"False alarms in {rate.value:.1%} of {draws} null draws at a level of {alpha:g}; "
        f"{'at most' if rate.value <= bound else 'more than'} {bound:.3f}, the level plus two standard errors.",
    )


def _detected(old: Tensor, new: Tensor, alpha: float) -> Any:
    none = torch.zeros(len(old), 2)
    reference = reference_of(none, old, torch.zeros(len(old), dtype=torch.int64), 1.0)
    nothing = np.full((len(new), 2), 0.5)
    detectors = ("pca_ks", "pca_mmd")
    return detect(reference, nothing, reference.project(new), alpha=alpha, detectors=detectors, permutations=199)


def _held_against(old: Tensor, new: Tensor, name: str) -> list[str]:
    found = _detected(old, new, 0.05)
    one = found.detections["pca_ks"]
    p = f"{found.p:.1g}" if found.p >= 0.01 else "< 0.01" if found.p > 1e-4 else f"{found.p:.0e}"
    return [name, f"{one.rejected} of {one.dimensions}", p, ""]


# ---------------------------------------------------------------------- layers of Whisper, and backbones


def whisper() -> Finding:
    """Fit linear probes for the digit and for the speaker to every layer of Whisper's encoder."""
    material = material_of("data=spoken_digits", "backbone=whisper", "assess=layers", "assess.samples=1000")
    subject, names = material.subjects[0], ("train", "test")
    data = material.prepared(subject, names)
    read_of = {name: activations(subject.backbone, data, name) for name in names}
    labels = {"digit": [material.labels(name) for name in names]}
    labels["speaker"] = [material.drawn[name].columns["group"] for name in names]
    rows: list[list[str]] = []
    found: dict[str, list[float]] = {"digit": [], "speaker": []}
    for group in read_of["train"]:
        cells = []
        for label, (y, w) in labels.items():
            answers = fit_probe(read_of["train"][group], y).logits(
                read_of["test"][group], int(max(y.max(), w.max())) + 1
            )
            one = wilson(int((answers.argmax(1) == w).sum()), len(w))
            found[label].append(one.value)
            cells.append(one.text(percent=True))
        rows.append([group, *cells])
    rises = {label: 100 * (values[-1] - values[0]) for label, values in found.items()}
    return Finding(
        "What does each layer of Whisper tiny.en know of a spoken digit, and of its speaker?",
        ["layer group", "digit, test (95 %)", "speaker"],
        rows,
        f"From the first group to the last the digit gains {rises['digit']:+.1f} points, the speaker "
        f"{rises['speaker']:+.1f}.",
    )


IMAGENET = {"squeezenet1_0": 57.5, "efficientnet_lite0": 75.1, "efficientnet_lite1": 76.7, "efficientnet_lite2": 77.6}
"""Published top-1 accuracy in per cent."""


def backbones(samples: int = 250) -> Finding:
    """Do better ImageNet networks transfer better? Kornblith's claim on four data sets, with random networks beside."""
    sets = ["office_caltech10", "cifar10", "pneumonia_xray", "digits"]
    names = [*IMAGENET, "efficientnet_lite0 (random)", "squeezenet1_0 (random)", "raw inputs"]
    accuracies: dict[str, dict[str, Measure]] = {name: {} for name in names}
    logmes: dict[str, dict[str, float]] = {name: {} for name in names}
    for data in sets:
        for name in names[:-1]:
            choice, _, random = name.partition(" ")
            untrained = ["backbone.pretrained=false"] if random else []
            words = [f"data={data}", f"backbone={choice}", "assess=transferability", f"assess.samples={samples}"]
            material = material_of(*words, *untrained)
            shown = [(name, choice), *([("raw inputs", "raw inputs")] if name == names[0] else [])]
            for said, representation in shown:
                accuracies[said][data], logmes[said][data] = _probed(material, representation)
    rows = [
        [name, str(IMAGENET.get(name, "-")), *(accuracies[name][data].text(percent=True) for data in sets)]
        for name in names
    ]
    taus = []
    for data in sets:
        tau = agreement(IMAGENET, {name: accuracies[name][data].value for name in IMAGENET})
        by_logme = agreement(
            {n: logmes[n][data] for n in names[:-1]}, {n: accuracies[n][data].value for n in names[:-1]}
        )
        taus.append((tau, by_logme))
    rows.append(["τ with ImageNet top-1", "", *(f"{tau:+.2f}" for tau, _ in taus)])
    rows.append(["τ of LogME with these accuracies", "", *(f"{tau:+.2f}" for _, tau in taus)])
    _draw(sets, accuracies)
    gains = [accuracies["efficientnet_lite2"][data].value - accuracies["squeezenet1_0"][data].value for data in sets]
    said = ", ".join(f"{data} {100 * gain:+.0f}" for data, gain in zip(sets, gains, strict=True))
    return Finding(
        "Do networks that are better on ImageNet transfer better (Kornblith et al. 2019)?",
        ["backbone", "ImageNet top-1, %", *sets],
        rows,
        f"Linear probes on {samples} training samples; from SqueezeNet to EfficientNet-Lite2, in points: {said}.",
    )


def _probed(material: Material, representation: str) -> tuple[Measure, float]:
    held_out = material.test or material.validation
    y = material.labels(held_out)
    right = int((material.logits(representation, held_out).argmax(1) == y).sum())
    x = material.representation(representation, material.train)
    return wilson(right, len(y)), logme(x, material.labels(material.train))


def _draw(sets: Sequence[str], accuracies: dict[str, dict[str, Measure]]) -> None:
    lines = {data: (list(IMAGENET.values()), [accuracies[name][data].value for name in IMAGENET]) for data in sets}
    figure = curves(lines, "published ImageNet top-1 accuracy, %", "accuracy of a linear probe", points=lines)
    folder = Path(__file__).resolve().parent.parent / "docs" / "images"
    figure.savefig(folder / "imagenet_and_transfer.svg", metadata={"Date": None})
