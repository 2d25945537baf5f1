"""What an assessment is asked for: its parts, and how exact they are. Nothing here imports torch."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Len

from tl_lab.options import Count, Fraction, NonNegative, Several

__all__ = ["Assessment", "Part"]

Part = Literal[
    "similarity",
    "transferability",
    "data_size",
    "baselines",
    "layers",
    "calibration",
    "bias",
    "forgetting",
    "drift",
    "energy",
]


class Assessment:
    """Options of an assessment.

    Args:
        parts: what is assessed, in this order.
        samples: of each set, drawn by the seed; more are exact and slow.
        folds: of the domain classifier, and of the intervals of transferability scores.
        permutations: of the MMD test; of drift detectors at least so many.
        alpha: level of tests, in (0, 1).
        cost_per_label: price of one label, in any currency; None where it is not known.
        cost_per_hour: price of an hour of computing, in the same currency.
        country: ISO code of three letters for the carbon intensity of electricity.
        backbones: names of several backbones to compare; ``backbone=[a,b]`` is equivalent.
        pretraining: name of data that represent the backbone's pretraining task; None if there are none.
        decision: of the audit, ``<column>>=<number>``, a decision that came with the data; None for ``decile>=5``
            where there is such a column.
        pairs: of sentences of CrowS-Pairs and of WinoBias each, that a language model is audited by.
        groups: columns of the data by which the audit compares samples; None for all that look like groups.
        budgets: numbers of labels of the measured curves; None for a few up to all labels.
        tuned_curves: draw the curves over labels for trained networks, too; costs a training for each way, number of
            labels and seed.
        seeds: of the trained parts.
        epochs: of each training of the trained parts.
        runs: folder of finished runs, against which rankings are checked; None for the usual one.
    """

    def __init__(
        self,
        *,
        parts: Annotated[Sequence[Part], Len(1)] = ("similarity",),
        samples: Several = 600,
        folds: Several = 5,
        permutations: Count = 200,
        alpha: Fraction = 0.05,
        cost_per_label: NonNegative | None = None,
        cost_per_hour: NonNegative = 0.0,
        country: Annotated[str, Len(3, 3)] = "USA",
        backbones: Sequence[str] | None = None,
        pretraining: str | None = None,
        decision: str | None = None,
        pairs: Several = 100,
        groups: Sequence[str] | None = None,
        budgets: Sequence[Count] | None = None,
        tuned_curves: bool = False,
        seeds: Count = 3,
        epochs: Count = 20,
        runs: str | None = None,
    ) -> None:
        self.parts = tuple(dict.fromkeys(parts))
        self.samples, self.folds, self.permutations, self.alpha = samples, folds, permutations, alpha
        self.cost_per_label, self.cost_per_hour, self.country = cost_per_label, cost_per_hour, country
        self.backbones = None if backbones is None else list(backbones)
        self.pretraining, self.groups = pretraining, None if groups is None else list(groups)
        self.decision, self.pairs = decision, pairs
        self.budgets = None if budgets is None else list(budgets)
        self.tuned_curves = tuned_curves
        self.seeds, self.epochs, self.runs = seeds, epochs, runs
