"""Which layers transfer: a probe at every layer, and AnB, BnB, AnB+, BnB+ (Yosinski et al. 2014)."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from tl_lab.assess.baselines import negative
from tl_lab.assess.material import Material, Subject
from tl_lab.assess.pictures import curves
from tl_lab.assess.probes import fit_probe
from tl_lab.assess.resampling import jackknife
from tl_lab.assess.results import Measure, NotApplicable, PartResult, mean_with_interval, wilson
from tl_lab.assess.tuning import copied, fresh, halves, tune
from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import Inputs, places_inside
from tl_lab.functional.pooling import pooled
from tl_lab.functional.representation_similarity import linear_cka
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["activations", "assess", "averaged", "transferred"]

TITLE = "Layer transferability"
WAYS = ("AnB", "BnB", "AnB+", "BnB+")
_LABELS = 400


def assess(material: Material) -> PartResult | NotApplicable:
    """Probe every layer group, and carry the first n of them from one half of the classes to the other.

    Args:
        material: of the assessment.
    """
    if not material.classifies:
        return NotApplicable(TITLE, "Layers are compared by classes, and these data have none.")
    subject = material.subjects[0]
    names = [name for name, _ in subject.backbone.layer_groups()]
    if not names:
        return NotApplicable(TITLE, f"{subject.name} has no layers.")
    measures: dict[str, Measure] = {}
    tables, figures, notes = [], {}, []
    probed = _probes(material, subject, measures)
    tables.append(Table(["layer group", *next(iter(probed.values()))], _rows(probed), 1, "Linear probe at every layer"))
    figures["Validation accuracy of a linear probe at every layer"] = curves(
        {label: (range(1, len(probed) + 1), [one[label].value for one in probed.values()])
         for label in next(iter(probed.values()))},
        "layer group, from the bottom", "accuracy", whole_x=True,
    )  # fmt: skip
    if alike := _alike(material, subject):
        measures |= {f"cka/{name}": value for name, value in alike.items()}
        rows = [[name, value.text()] for name, value in alike.items()]
        tables.append(Table(["layer group", "CKA (95 %)"], rows, 1, "Linear CKA of base and tuned backbone"))
        notes.append("Intervals of CKA are a jackknife over folds of the validation samples.")
    sentence = _describe_best(probed)
    if len(material.class_names) >= 4:
        base, ways = transferred(material, subject)
        measures["base"] = mean_with_interval(base)
        for way, by_layer in ways.items():
            for n, values in by_layer.items():
                measures[f"{way}/{n}"] = mean_with_interval(values)
                measures[f"{way}/{n} - base"] = mean_with_interval(np.subtract(values, base).tolist())
        tables += [_table(names, measures), _differences(names, measures)]
        figures["Accuracy on the second half of the classes, by the number of transferred layer groups"] = curves(
            {"base": ([0, len(names)], [float(np.mean(base))] * 2)}
            | {way: (list(one), [float(np.mean(v)) for v in one.values()]) for way, one in ways.items()},
            "transferred layer groups", "accuracy", whole_x=True,
        )  # fmt: skip
        last = len(names)
        change = measures[f"AnB/{last} - base"].points()
        sentence += f" Transferred and frozen, all {last} groups change accuracy on other classes by {change}."
        notes.append(
            "A is the first half of the classes, B the second; AnB freezes n groups trained on A, BnB n groups "
            "trained on B; + also tunes them. All have the same labels and number of updates, over seeds. Negative "
            "transfer is stated if the whole interval of the difference from the base lies below zero."
        )
    return PartResult(TITLE, sentence, "moderate", measures, tables, figures, notes)


def transferred(material: Material, subject: Subject) -> tuple[list[float], dict[str, dict[int, list[float]]]]:
    """Train base, AnB, BnB, AnB+ and BnB+ for each number of layer groups.

    Args:
        material: of the assessment, with at least four classes.
        subject: whose architecture is used, with random weights.

    Returns:
        Accuracy of base by seed, and of each way by number of groups and seed.

    References:
        Yosinski, Clune, Bengio and Lipson, How Transferable Are Features in Deep Neural Networks?, NIPS 2014.
    """
    options = material.options
    a, b = halves(material, subject)
    labels = options.budgets[0] if options.budgets else _LABELS
    groups = len(subject.backbone.layer_groups())
    base: list[float] = []
    ways: dict[str, dict[int, list[float]]] = {way: defaultdict(list) for way in WAYS}
    for seed in range(options.seeds):
        few_a, few_b = a.few(labels, seed), b.few(labels, seed)
        on_a = tune(fresh(material, subject, seed), few_a, epochs=options.epochs, seed=seed)
        on_b = tune(fresh(material, subject, seed + 1000), few_b, epochs=options.epochs, seed=seed)
        base.append(on_b.accuracy)
        for n in range(1, groups + 1):
            for way in WAYS:
                start = on_a.backbone if way.startswith("A") else on_b.backbone
                mixed = copied(start, fresh(material, subject, seed + 2000), n)
                frozen = 0 if way.endswith("+") else n
                found = tune(mixed, few_b, frozen=frozen, epochs=options.epochs, seed=seed + 1)
                ways[way][n].append(found.accuracy)
    return base, ways


@torch.no_grad()
def activations(backbone: Backbone, data: DataModule, name: str) -> dict[str, Tensor]:
    """Read the output of each layer group on a set, averaged over places or tokens that are no padding.

    Args:
        backbone: in evaluation mode.
        data: prepared for it.
        name: of the set.

    Returns:
        ``(N, D_k)`` by group; groups whose last module gives no tensor are left out.
    """
    seen: dict[str, list[Tensor]] = {group: [] for group, _ in backbone.layer_groups()}
    latest: dict[str, tuple[nn.Module, Tensor]] = {}

    def keep(group: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            value = output[0] if isinstance(output, tuple) and output else output
            if isinstance(value, Tensor) and value.dim() >= 2:
                latest[group] = module, value

        return hook

    handles = [m.register_forward_hook(keep(group)) for group, modules in backbone.layer_groups() for m in modules]
    try:
        for part in torch.arange(len(data.sets[name])).split(64):
            latest.clear()
            x = data.inputs_at(name, part)
            backbone(x)
            for group, (module, value) in latest.items():
                seen[group].append(averaged(value, module, x).float())
    finally:
        for handle in handles:
            handle.remove()
    return {group: torch.cat(parts) for group, parts in seen.items() if parts}


def averaged(value: Tensor, module: nn.Module, x: Inputs) -> Tensor:
    """Average a module's output over places or tokens: of texts and recordings over those that are no padding.

    Args:
        value: ``(B, D)``, ``(B, L, D)``, of one-dimensional convolutions ``(B, D, L)``, of others ``(B, D, H, L)``.
        module: that gave it.
        x: the backbone's inputs.

    Returns:
        ``(B, D)``.
    """
    if value.dim() == 2:
        return value
    if value.dim() == 4:
        value = value.mean(2).transpose(1, 2)  # (B, D, H, L) -> (B, L, D)
    elif isinstance(module, nn.Conv1d):
        value = value.transpose(1, 2)  # (B, D, L) -> (B, L, D)
    mask = places_inside(x, value.shape[1])
    return value.mean(1) if mask is None else pooled(value[:, -mask.shape[1] :], mask)


def _probes(material: Material, subject: Subject, measures: dict[str, Measure]) -> dict[str, dict[str, Measure]]:
    """Fit a probe for the classes, and for the groups where the data have some, to each layer group."""
    train, held_out = material.train, material.validation
    data = material.prepared(subject, [train, held_out])
    read = {name: activations(subject.backbone, data, name) for name in (train, held_out)}
    labels = {"classes": (material.labels(train), material.labels(held_out))}
    if "group" in material.drawn[train].columns and "group" in material.drawn[held_out].columns:
        labels["groups"] = (material.drawn[train].columns["group"], material.drawn[held_out].columns["group"])
    found: dict[str, dict[str, Measure]] = {}
    for group in read[train]:
        found[group] = {}
        for label, (y, w) in labels.items():
            size = int(max(y.max(), w.max())) + 1
            answers = fit_probe(read[train][group], y).logits(read[held_out][group], size).argmax(1)
            found[group][label] = measures[f"probe/{group}/{label}"] = wilson(int((answers == w).sum()), len(w))
    return found


def _alike(material: Material, subject: Subject) -> dict[str, Measure]:
    """Compare the backbone layer by layer with what it was before the run given by ``init_from``."""
    if subject.plan.init_from is None:
        return {}
    before = material._subject(replace(subject.plan, init_from=None))
    data = material.prepared(subject, [material.validation])
    read = [activations(one.backbone, data, material.validation) for one in (before, subject)]
    folds, seed = material.options.folds, material.plan.seed

    def compared(x: Tensor, z: Tensor) -> Measure:
        return jackknife(lambda kept: linear_cka(x[kept], z[kept]), len(x), folds, seed, least=0, most=1)

    return {group: compared(x, read[1][group]) for group, x in read[0].items()}


def _rows(probed: dict[str, dict[str, Measure]]) -> list[list[str | Cell]]:
    return [[group, *(m.text(percent=True) for m in one.values())] for group, one in probed.items()]


def _table(names: list[str], measures: dict[str, Measure]) -> Table:
    rows: list[list[str | Cell]] = [
        [f"{n} ({name})", *(measures[f"{way}/{n}"].text(percent=True) for way in WAYS)]
        for n, name in enumerate(names, 1)
    ]
    return Table(
        ["layer groups", *WAYS], rows, 1, f"Accuracy on B over seeds (95 %); base {measures['base'].text(percent=True)}"
    )


def _differences(names: list[str], measures: dict[str, Measure]) -> Table:
    rows: list[list[str | Cell]] = [
        [f"{n} ({name})", *(_flagged(measures[f"{way}/{n} - base"]) for way in WAYS)] for n, name in enumerate(names, 1)
    ]
    return Table(["layer groups", *WAYS], rows, 1, "Difference from the base over seeds (95 %)")


def _flagged(difference: Measure) -> str:
    return difference.text(percent=True) + (": negative transfer" if negative(difference) else "")


def _describe_best(probed: dict[str, dict[str, Measure]]) -> str:
    best = max(probed, key=lambda group: probed[group]["classes"].value)
    found = probed[best]["classes"].text(percent=True)
    return f"A linear probe does best on the layer group {best}, with {found} of validation samples."
