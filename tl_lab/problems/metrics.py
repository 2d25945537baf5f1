"""Names, units and formats of the scores of this package's problems.

The problem classes use these tables, which are separate so that results of finished runs can be tabulated without
importing torch. A problem from another package declares its metrics in its class, and its runs record them.
"""

import math

from tl_lab.results.kinds import Kind, Scores, register, share

__all__ = ["MULTI_LABEL", "PACKAGED", "REGRESSION", "SEQUENCE", "SEVERAL", "SINGLE_LABEL", "SPANS", "TRANSCRIPT"]

SINGLE_LABEL = Scores(
    "acc",
    {
        "acc": share("accuracy"),
        "balanced_acc": share("balanced accuracy", refines="acc"),
        "f1_macro": share("macro F1", refines="acc"),
        "open_acc": share("accuracy among all pretraining classes"),
        "chance": share("accuracy of guessing"),
    },
    "Accuracies and F1 in per cent.",
)
MULTI_LABEL = Scores(
    "auroc",
    {
        "auroc": share("AUROC"),
        "map": share("mAP"),
        "f1_macro": share("macro F1", refines="acc"),
        "f1_tuned": share("macro F1 (tuned thresholds)"),
        "subset_acc": share("exact match"),
    },
    "AUROC, mAP, F1 and exact matches in per cent.",
)
REGRESSION = Scores(
    "r2",
    {
        "r2": Kind("R²", digits="z.3f", bounds=(-math.inf, 1.0)),
        "spearman": Kind("Spearman", digits="z.3f", bounds=(-1.0, 1.0)),
        "mae": Kind("MAE", higher=False, bounds=(0.0, math.inf)),
        "mse": Kind("MSE", higher=False, bounds=(0.0, math.inf)),
    },
    "MAE in the unit of the target, MSE in its square.",
)
SEVERAL = Scores(
    "task_mean",
    {"task_mean": Kind("mean over tasks (fraction)", digits="z.3f", bounds=(-math.inf, 1.0))},
    "The mean over tasks averages each task's accuracy, AUROC or R², as fractions of 1.",
)
SPANS = Scores(
    "span_f1",
    {"span_f1": share("answer F1"), "exact_match": share("exact answers")},
    "F1 and exact matches of answers in per cent.",
)
TRANSCRIPT = Scores(
    "letter_acc",
    {
        "letter_acc": Kind("letter accuracy", True, "z.1f", True, (-math.inf, 1.0)),
        "wer": Kind("word error rate", True, "z.1f", False, (0.0, math.inf)),
        "cer": Kind("character error rate", True, "z.1f", False, (0.0, math.inf)),
    },
    "Letter accuracies (1 - character error rate) and error rates in per cent.",
)
SEQUENCE = Scores(
    "entity_f1",
    {
        "entity_f1": share("entity F1"),
        "entity_precision": share("entity precision"),
        "entity_recall": share("entity recall"),
        "token_acc": share("tag accuracy"),
    },
    "F1, precision and recall of entities, and accuracies of tags, in per cent.",
)
PACKAGED = {
    "single_label": SINGLE_LABEL,
    "multi_label": MULTI_LABEL,
    "regression": REGRESSION,
    "several": SEVERAL,
    "spans": SPANS,
    "transcript": TRANSCRIPT,
    "sequence": SEQUENCE,
}
"""The metrics of this package's problems by the name of the problem, in the order of tables."""

for _name, _scores in PACKAGED.items():
    register(_name, _scores)
