"""Tables of methods by tasks and of published numbers, against computations by hand and by scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tl_lab.config import choices, compose
from tl_lab.errors import UserError
from tl_lab.results.tables.reproduction import (
    Reproduces,
    arrange,
    chosen,
    compare_methods,
    comparison_rows,
    cross,
    crossed_rows,
    named_methods,
    swept_keys,
    verdict_rows,
    verdicts_by_task,
)

METRIC = "test/target/acc"
PAIRS = ["a_to_b", "b_to_a", "a_to_c", "c_to_a", "b_to_c", "c_to_b"]
BASE = np.array([0.50, 0.60, 0.70, 0.80, 0.65, 0.75])
GAIN = np.array([0.01, 0.02, -0.03, 0.04, 0.05, 0.06])


def runs(methods=("none", "dann"), seeds=(0, 1), pairs=PAIRS):
    """Accuracy: the base of the pair, a hundredth a seed, and for all but the first method its gain."""
    rows = [
        {
            "override.domain_adaptation": method,
            "override.data.pair": pair,
            "override.trainer.max_epochs": "3",
            "override.seed": str(seed),
            "seed": seed,
            "oracle": method == "target_only",
            METRIC: BASE[i] + 0.01 * seed + (j > 0) * GAIN[i],
        }
        for i, pair in enumerate(pairs)
        for j, method in enumerate(methods)
        for seed in seeds
    ]
    return pd.DataFrame(rows)


def crossed(frame):
    return cross(frame, METRIC, "domain_adaptation", "data.pair")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["null", "1000", "50"], ["50", "1000", "null"]),
        (["webcam", "1000", "dslr"], ["webcam", "1000", "dslr"]),
    ],
)
def test_tasks_that_are_numbers_are_in_ascending_order(given, expected):
    frame = runs(pairs=given)
    assert crossed(frame).tasks == expected
    by_hand = [frame.loc[frame["override.data.pair"] == pair, METRIC].mean() for pair in expected]
    np.testing.assert_allclose(crossed(frame).mean.mean(1), by_hand)


def test_cells_are_means_mean_with_interval_with_their_intervals():
    table = crossed(runs(seeds=(0, 1, 2)))
    assert table.methods == ["none", "dann"]
    assert table.tasks == PAIRS
    assert (table.seeds == 3).all()
    np.testing.assert_allclose(table.mean, np.stack([BASE + 0.01, BASE + GAIN + 0.01], axis=1), atol=1e-12)
    half = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    np.testing.assert_allclose(table.half, half, rtol=1e-9)
    np.testing.assert_allclose(table.overall, [BASE.mean() + 0.01, (BASE + GAIN).mean() + 0.01])
    np.testing.assert_allclose(table.overall_half, half, rtol=1e-9)  # each seed moves every pair alike


def test_the_comparison_is_the_paired_test_over_tasks():
    (found,) = compare_methods(crossed(runs()))
    assert (found.method, found.baseline, found.n, found.above) == ("dann", "none", 6, 5)
    assert found.mean == pytest.approx(GAIN.mean(), abs=1e-12)
    low, high = stats.t.interval(0.95, 5, loc=GAIN.mean(), scale=stats.sem(GAIN))
    assert found.half == pytest.approx((high - low) / 2, rel=1e-9)
    assert found.p == pytest.approx(stats.wilcoxon(BASE + GAIN, BASE).pvalue, abs=1e-12)


def test_several_methods_are_corrected_for_their_number():
    alone = compare_methods(crossed(runs()))[0].p
    both = compare_methods(crossed(runs(methods=("none", "dann", "coral"))))
    assert [each.p for each in both] == pytest.approx([min(1, 2 * alone)] * 2)


def test_below_six_tasks_there_is_no_rank_test():
    (found,) = compare_methods(crossed(runs(pairs=PAIRS[:5])))
    assert found.p is None
    assert comparison_rows(crossed(runs(pairs=PAIRS[:5])), METRIC)[0][-1] == "-"


def test_without_a_baseline_nothing_is_compared():
    assert compare_methods(crossed(runs(methods=("mmd", "dann")))) == []


def test_a_missing_run_leaves_a_gap_and_no_mean():
    frame = runs()
    gap = (frame["override.data.pair"] == "b_to_c") & (frame["override.domain_adaptation"] == "dann")
    table = crossed(frame[~gap])
    assert table.seeds[4, 1] == 0
    assert np.isnan(table.mean[4, 1])
    assert np.isnan(table.overall[1])
    assert table.overall[0] == pytest.approx(BASE.mean() + 0.005)
    assert compare_methods(table)[0].n == 5
    head, rows = crossed_rows(table, METRIC, "data.pair")
    assert head == ["pair", "none", "dann"]
    assert rows[4][2] == "-"
    assert rows[-1][2] == "-"


def test_an_oracle_is_marked_in_every_table():
    table = crossed(runs(methods=("none", "target_only")))
    head, _ = crossed_rows(table, METRIC, "data.pair")
    assert head == ["pair", "none", "target_only (oracle)"]
    assert [row[0] for row in comparison_rows(table, METRIC)] == ["target_only (oracle)"]
    expected = Reproduces(source="A paper", tasks="data.pair", published={"target_only": dict.fromkeys(PAIRS, 0.9)})
    assert [row[0] for row in verdict_rows(table, METRIC, expected)] == ["target_only (oracle)"]


def test_a_table_beside_the_paper():
    expected = Reproduces(
        source="A paper, table 1",
        tolerance=0.02,
        tasks="data.pair",
        published={
            "none": dict.fromkeys(PAIRS, 0.5),
            "dann": dict(zip(PAIRS, BASE, strict=True)),
            "an SVM": dict.fromkeys(PAIRS, 0.4),
        },
    )
    table = crossed(runs(seeds=(0,)))
    head, rows = crossed_rows(table, METRIC, "data.pair", expected)
    assert head == ["pair", "none", "dann", "none, published", "dann, published", "an SVM, published"]
    assert rows[0] == ["a_to_b", "50.0", "51.0", "50.0", "50.0", "40.0"]
    assert rows[-1] == ["mean", "66.7", "69.2", "50.0", "66.7", "40.0"]
    # the mean of none is .667 beside .5; that of dann is GAIN's mean, .025, above; one seed decides nothing
    assert verdict_rows(table, METRIC, expected) == [
        ["none", "66.7", "50.0", "+16.7", "undecided: 2 more seeds"],
        ["dann", "69.2", "66.7", "+2.5", "undecided: 2 more seeds"],
    ]
    # three seeds, .01 apart: the interval of the mean is +- t(2) .01 / sqrt(3) = .0248; with 18, t(17) .01 / sqrt(18)
    # = .00497 is less than the .005 from the mean to the tolerance's end
    table = crossed(runs(seeds=(-1, 0, 1)))
    assert verdict_rows(table, METRIC, expected) == [
        ["none", "66.7 ± 2.5", "50.0", "+16.7 ± 2.5", "no, above"],
        ["dann", "69.2 ± 2.5", "66.7", "+2.5 ± 2.5", "undecided: 15 more seeds"],
    ]
    wide = Reproduces(source="A paper", tolerance=0.05, tasks="data.pair", published=expected.published)
    assert verdict_rows(table, METRIC, wide)[1][-1] == "yes"
    errors = {"none": 0.2}
    unsure = Reproduces(source="A paper", tasks="data.pair", published=expected.published, standard_errors=errors)
    assert verdict_rows(table, METRIC, unsure)[0][-1] == "undecided"


def test_each_task_is_compared_with_its_own_number():
    numbers = {"none": dict(zip(PAIRS, BASE, strict=True)), "dann": dict.fromkeys(PAIRS, 0.1)}
    expected = Reproduces(source="A paper", tolerance=0.03, tasks="data.pair", published=numbers)
    found = verdicts_by_task(crossed(runs(seeds=(-1, 0, 1))), expected)
    assert set(found) == {(method, pair) for method in numbers for pair in PAIRS}
    # three seeds, .01 apart: the half-width is t(2) .01 / sqrt(3) = .0248, and none is the number itself
    assert {(found["none", pair][0].word, found["none", pair][1]) for pair in PAIRS} == {("yes", 3)}
    assert found["none", PAIRS[0]][0].half == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)
    assert {found["dann", pair][0].word for pair in PAIRS} == {"no, above"}
    lacking = crossed(runs(pairs=PAIRS[:2], seeds=(0,)))
    assert {verdict.word for verdict, _ in verdicts_by_task(lacking, expected).values()} == {"undecided"}


def test_seeds_that_differ_between_tasks_are_missing_runs():
    frame = runs(seeds=(0, 1, 2))
    expected = Reproduces(source="A paper", tasks="data.pair", published={"dann": dict(zip(PAIRS, BASE, strict=True))})
    lacking = frame[(frame["override.data.pair"] != PAIRS[0]) | (frame["seed"] < 2)]
    assert verdict_rows(crossed(lacking), METRIC, expected)[0][-1] == "runs are missing"


def test_one_task_needs_no_key():
    frame = runs(pairs=PAIRS[:1], seeds=(0, 1, 2)).drop(columns="override.data.pair")
    expected = Reproduces(source="A paper", published={"dann": 0.7})
    table = cross(frame, METRIC, expected.methods, expected.tasks)
    assert table.tasks == [""]
    assert verdict_rows(table, METRIC, expected)[0][-1] == "no, below"


def test_another_value_of_a_variant_is_a_method_of_its_own():
    usual, other = runs(), runs(methods=("dann",)).assign(**{"override.backbone": "lenet"})
    other[METRIC] += 0.1
    frame = pd.concat([usual, other], ignore_index=True)  # the usual backbone was not swept
    expected = Reproduces(source="x", tasks="data.pair", variants={"backbone": "conv4"})
    assert expected.swept == ["domain_adaptation", "data.pair", "backbone"]
    assert named_methods(frame, expected).value_counts().to_dict() == {"none": 12, "dann": 12, "dann, lenet": 12}
    table = arrange(frame, expected)
    assert table.methods == ["none", "dann", "dann, lenet"]
    np.testing.assert_allclose(table.mean[:, 2], BASE + 0.005 + 0.1)
    np.testing.assert_allclose(table.mean[:, :2], crossed(usual).mean)
    named = frame.assign(**{"override.backbone": frame["override.backbone"].fillna("conv4")})  # as stored runs are
    assert arrange(named, expected).methods == table.methods


def test_a_label_free_score_chooses_among_runs():
    frame = pd.concat([runs(seeds=(0, 1)).assign(lam=lam) for lam in (0.1, 1.0)], ignore_index=True)
    frame[METRIC] += frame["lam"]  # which of the two was taken shows in the accuracy
    expected = Reproduces(source="x", tasks="data.pair", tuned=["lam"], chosen_by="val/reverse_acc")
    prefers_large = frame["override.data.pair"].isin(PAIRS[:2]) & (frame["seed"] == 1)
    frame["val/reverse_acc"] = np.where(prefers_large == (frame["lam"] == 1.0), 0.9, 0.8)
    kept = chosen(frame, expected)
    assert len(kept) == len(frame) / 2
    taken = kept.groupby(["override.data.pair", "seed"])["lam"].unique().map(list)
    assert {key for key, lams in taken.items() if lams == [1.0]} == {(PAIRS[0], 1), (PAIRS[1], 1)}
    table = cross(kept, METRIC, "domain_adaptation", "data.pair")
    assert table.mean[0, 0] == pytest.approx(BASE[0] + (0.1 + 1.0) / 2 + 0.005)
    assert len(chosen(frame.drop(columns="val/reverse_acc"), expected)) == len(frame) / 2
    assert chosen(frame, Reproduces(source="x", tasks="data.pair")) is frame


def test_what_was_swept_leaves_out_the_seed_and_what_is_the_same_in_all():
    assert swept_keys(runs()) == ["domain_adaptation", "data.pair"]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"published": {}}, "reproduces.source"),
        ({"source": "x", "tolerence": 1}, "did you mean 'tolerance'"),
        ({"source": "x", "tuned": ["lam"]}, "must be set together"),
        ({"source": "x", "tuned": ["lam"], "chosen_by": "test/target/acc"}, "test metrics cannot be used"),
        ({"source": "x", "deviation": " "}, "reproduces.deviation must be a sentence, or null"),
        ({"source": "x", "deviation": True}, "reproduces.deviation must be a sentence, or null"),
        ({"source": "x", "tolerance": -1}, "reproduces.tolerance must be at least 0"),
        ({"source": "x", "published": {"dann": "high"}}, "reproduces.published.dann must be one number"),
        ({"source": "x", "tasks": "data.pair", "published": {"dann": 0.7}}, "a number for each value of data.pair"),
        ({"source": "x", "tasks": "t", "published": {"a": {"x": 1}, "b": {"y": 1}}}, "different t for different"),
    ],
)
def test_a_wrong_node_is_refused(node, message):
    with pytest.raises(UserError, match=message):
        Reproduces.from_node(node)


@pytest.mark.parametrize("name", list(choices("experiment")["experiment"]))
def test_what_each_experiment_expects_can_be_read(name):
    expected = Reproduces.from_node(compose([f"experiment={name}"]).reproduces)
    assert expected is None or len(expected.source) > 10
