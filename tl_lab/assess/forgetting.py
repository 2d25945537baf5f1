"""What tuning forgets of the task that a network has learned before."""

import numpy as np

from tl_lab.assess.material import Material
from tl_lab.assess.pictures import bars
from tl_lab.assess.results import NotApplicable, PartResult, mean_with_interval
from tl_lab.assess.tuning import accuracy, fresh, halves, tune
from tl_lab.results.report.blocks import Cell, Table

__all__ = ["assess"]

TITLE = "Forgetting"


def assess(material: Material) -> PartResult | NotApplicable:
    """Learn one half of the classes, tune on the other, and score the first again: by the old head, and by a new one.

    Args:
        material: of the assessment.
    """
    if not material.classifies:
        return NotApplicable(TITLE, "Forgetting is measured by classes, and these data have none.")
    subject, options = material.subjects[0], material.options
    first, second = halves(material, subject)
    groups = len(subject.backbone.layer_groups())
    scores: dict[str, list[float]] = {"before": [], "after, old head": [], "after, new head": [], "second task": []}
    for seed in range(options.seeds):
        start = subject.backbone if subject.learned else fresh(material, subject, seed)
        learned = tune(start, first, epochs=options.epochs, seed=seed)
        tuned = tune(learned.backbone, second, epochs=options.epochs, seed=seed)
        again = tune(tuned.backbone, first, frozen=groups, epochs=options.epochs, seed=seed)
        scores["before"].append(learned.accuracy)
        scores["after, old head"].append(accuracy(tuned.backbone, learned.head, first))
        scores["after, new head"].append(again.accuracy)
        scores["second task"].append(tuned.accuracy)
    measures = {name: mean_with_interval(values) for name, values in scores.items()}
    for name in ("after, old head", "after, new head"):
        measures[f"forgotten, {name[7:]}"] = mean_with_interval(np.subtract(scores["before"], scores[name]).tolist())
    rows: list[list[str | Cell]] = [[name, one.text(percent=True)] for name, one in measures.items()]
    old, new = measures["forgotten, old head"], measures["forgotten, new head"]
    said = (
        f"Tuning {subject.name} on the second half of the classes costs {100 * old.value:.0f} points on the first with "
        f"its old head, and {100 * new.value:.0f} with a head fitted anew: what the features themselves have lost."
    )
    shown = {name: one for name, one in measures.items() if not name.startswith("forgotten")}
    figures = {
        "Accuracy before and after tuning, with 95 % intervals over seeds": bars(shown, "accuracy", percent=True)
    }
    table = Table(["quantity", "value (95 %)"], rows, 1, f"Over {options.seeds} seeds")
    return PartResult(TITLE, said, "moderate" if options.seeds > 2 else "low", measures, [table], figures)
