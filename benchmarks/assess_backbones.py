"""What benchmarks/assess.py measures of backbones: does the better one transfer better, and do scores tell?"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
from assess_findings import Finding, material_of
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tl_lab.assess.material import RAW, Material
from tl_lab.assess.results import Measure, wilson
from tl_lab.assess.transferability import SCORES, agreement, tau_text
from tl_lab.assess.tuning import fresh, tune, whole
from tl_lab.backbones.base import Backbone
from tl_lab.functional.log_evidence import logme
from tl_lab.results.figures.drawing import GREY, INK, PALETTE, SOURCE, STYLE

IMAGENET = {"squeezenet1_0": 57.5, "efficientnet_lite0": 75.1, "efficientnet_lite1": 76.7, "efficientnet_lite2": 77.6}
"""Published top-1 accuracy in per cent."""
SETS = ("office_caltech10", "cifar10", "pneumonia_xray", "digits")
ON_MNIST, RANDOM_LENET = "lenet (MNIST)", "lenet (random)"
RATE = 3e-4
"""Learning rate of Adam for all networks that are fine-tuned."""
_TAU = "Intervals of τ (95 %) are a bootstrap over the networks; four are too few for one."


def networks(side: int) -> dict[str, list[str]]:
    """Give the options of each network, by its name for readers, with images of one size for all but LeNet."""
    size = f"backbone.resize_to=[{side},{side}]"
    native = [] if side == 224 else [size]  # trained ones have sizes of their own
    random = ["backbone.pretrained=false", size]
    return {
        **{name: [f"backbone={name}", *native] for name in IMAGENET},
        "efficientnet_lite0 (random)": ["backbone=efficientnet_lite0", *random],
        "squeezenet1_0 (random)": ["backbone=squeezenet1_0", *random],
        ON_MNIST: ["backbone=lenet", "backbone.in_channels=1"],
        RANDOM_LENET: ["backbone=lenet", "backbone.in_channels=1"],
    }


def on_mnist(samples: int = 10_000, epochs: int = 3) -> Backbone:
    """Train a LeNet on MNIST: about a minute."""
    material = material_of("data=mnist", "backbone=lenet", "assess=layers", f"assess.samples={samples}")
    (subject,) = material.subjects
    return tune(fresh(material, subject, 0), whole(material, subject), epochs=epochs).backbone


def materials(data: str, samples: int, lenet: Backbone, side: int = 224) -> Iterator[tuple[str, Material]]:
    """Give each network's name, and the data with this network as the only backbone."""
    for name, words in networks(side).items():
        material = material_of(f"data={data}", *words, "assess=transferability", f"assess.samples={samples}")
        (subject,) = material.subjects
        if name == ON_MNIST:
            subject = replace(subject, backbone=lenet.eval(), learned=True)
        material.subjects = (subject,)
        yield name, material


def backbones(samples: int = 250) -> Finding:
    """Do better ImageNet networks transfer better? Kornblith's claim, beside a network of MNIST and random ones."""
    names, lenet = [*networks(224), RAW], on_mnist()
    accuracies: dict[str, dict[str, Measure]] = {name: {} for name in names}
    logmes: dict[str, dict[str, float]] = {name: {} for name in names}
    for data in SETS:
        for name, material in materials(data, samples, lenet):
            for subject, choice in ((name, material.subjects[0].name), *([(RAW, RAW)] if name == names[0] else [])):
                accuracies[subject][data], logmes[subject][data] = _probed(material, choice)
    rows = [
        [name, str(IMAGENET.get(name, "-")), *(accuracies[name][data].text(percent=True) for data in SETS)]
        for name in names
    ]
    probes = {data: {name: accuracies[name][data].value for name in names} for data in SETS}
    of_logme = {data: {name: logmes[name][data] for name in names} for data in SETS}
    for title, taus in (
        ("τ with ImageNet top-1", [agreement(IMAGENET, probes[data]) for data in SETS]),
        ("τ of LogME with these accuracies", [agreement(of_logme[data], probes[data]) for data in SETS]),
    ):
        rows.append([title, "", *(tau_text(tau) for tau in taus)])
    draw(rows)
    first, *_, last = IMAGENET
    gains = [100 * (probes[data][last] - probes[data][first]) for data in SETS]
    changes = ", ".join(f"{data} {gain:+.0f}" for data, gain in zip(SETS, gains, strict=True))
    return Finding(
        "Do networks that are better on ImageNet transfer better (Kornblith et al. 2019)?",
        ["backbone", "ImageNet top-1, %", *SETS],
        rows,
        f"Linear probes on {samples} training samples; from SqueezeNet to EfficientNet-Lite2, in points: {changes}. "
        f"{_TAU} The next table compares LogME with fine-tuning.",
    )


def fine_tuned(samples: int = 250, sets: Sequence[str] = ("digits", "cifar10", "pneumonia_xray")) -> Finding:
    """Fine-tune every network, and hold the scores against the accuracies: at 64 pixels, which takes half an hour."""
    lenet, keys = on_mnist(), [*SCORES, "probe"]
    accuracies: dict[str, dict[str, Measure]] = {data: {} for data in sets}
    scores: dict[str, dict[str, dict[str, float]]] = {data: {key: {} for key in keys} for data in sets}
    for data in sets:
        for name, material in materials(data, samples, lenet, side=64):
            (subject,) = material.subjects
            x, y = material.features(subject, material.train), material.labels(material.train)
            for key, (_, score) in SCORES.items():
                scores[data][key][name] = score(x, y, True)
            answers = material.logits(subject.name, material.validation).argmax(1)
            scores[data]["probe"][name] = float((answers == material.labels(material.validation)).double().mean())
            task = whole(material, subject)
            tuned = tune(subject.backbone, task, epochs=1, rate=RATE)
            accuracies[data][name] = wilson(round(tuned.accuracy * len(task.y_test)), len(task.y_test))
            print(data, name, accuracies[data][name].text(percent=True), flush=True)
    rows = [[name, *(accuracies[data][name].text(percent=True) for data in sets)] for name in accuracies[sets[0]]]
    labels = {key: label for key, (label, _) in SCORES.items()} | {"probe": "a probe's validation accuracy"}
    for key in keys:
        rows.append([f"τ of {labels[key]}", *map(tau_text, _taus(scores, accuracies, key))])
    best = max(keys, key=lambda key: sum(tau.value for tau in _taus(scores, accuracies, key) if tau is not None))
    return Finding(
        "Do the scores rank backbones as fine-tuning does?",
        ["backbone", *(f"{data}, fine-tuned (95 %)" for data in sets)],
        rows,
        f"All layers tuned on {samples} samples by some 100 updates of Adam at {RATE:g}, images at 64 pixels (LeNet: "
        f"28); weighted Kendall τ with the test accuracies is highest on average for {labels[best]}. {_TAU}",
    )


def _taus(
    scores: Mapping[str, Mapping[str, dict[str, float]]], accuracies: Mapping[str, Mapping[str, Measure]], key: str
) -> list[Measure | None]:
    measured_of = {data: {name: one.value for name, one in found.items()} for data, found in accuracies.items()}
    return [agreement(scores[data][key], measured_of[data]) for data in accuracies]


def _probed(material: Material, representation: str) -> tuple[Measure, float]:
    held_out = material.test or material.validation
    y = material.labels(held_out)
    right = int((material.logits(representation, held_out).argmax(1) == y).sum())
    x = material.representation(representation, material.train)
    return wilson(right, len(y)), logme(x, material.labels(material.train))


def draw(rows: Sequence[Sequence[str]]) -> None:
    """Draw the rows of the finding: a panel for each set, ImageNet's networks by their top-1, all others as lines."""
    found = {name: [_numbers(cell) for cell in cells] for name, _, *cells in rows if "%" in cells[0]}
    lines = {"LeNet trained on MNIST": (PALETTE[1], "-"), "random weights": (GREY, "--"), RAW: (INK, ":")}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 5.4), layout="constrained")
        for i, (ax, data) in enumerate(zip(figure.subplots(2, 2, sharex=True).flat, SETS, strict=True)):
            x, (means, lows, highs) = list(IMAGENET.values()), zip(*(found[name][i] for name in IMAGENET), strict=True)
            ax.vlines(x, lows, highs, color=SOURCE, lw=4, alpha=0.3)
            ax.plot(x, means, "o-", color=SOURCE, ms=5, label="trained on ImageNet (95 %)")
            for name, cells in found.items():
                if name not in IMAGENET:
                    label = RAW if name == RAW else "random weights" if "random" in name else "LeNet trained on MNIST"
                    colour, style = lines[label]
                    ax.axhline(cells[i][0], color=colour, ls=style, lw=1.2, label=label)
            ax.set_title(data)
            ax.yaxis.set_major_formatter(PercentFormatter(100, decimals=0))
        figure.supxlabel("published ImageNet top-1 accuracy, %")
        figure.supylabel("accuracy of a linear probe")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        known = dict(zip(labels, handles, strict=True))
        figure.legend(known.values(), known.keys(), loc="outside upper left", ncols=2)
        folder = Path(__file__).resolve().parent.parent / "docs" / "images"
        figure.savefig(folder / "imagenet_and_transfer.svg", metadata={"Date": None})


def _numbers(cell: str) -> tuple[float, float, float]:
    """Read an accuracy and the ends of its interval, in per cent: ``94.8 % (88.4 to 97.8)``."""
    mean, low, high = map(float, re.findall(r"[\d.]+", cell))
    return mean, low, high
