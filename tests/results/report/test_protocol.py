"""The protocol is reported with a sweep's numbers."""

import json

import pandas as pd

from tl_lab.results.report.protocol import facts_of_all, facts_of_settings


def runs(*rows, status="completed"):
    frame = [{"setting": setting, "protocol": json.dumps(facts), "status": status} for setting, facts in rows]
    return pd.DataFrame(frame, columns=["setting", "protocol", "status"])


def test_what_all_runs_share_and_what_a_setting_adds():
    common = {"inputs": "8x8 -> 28x28", "protocol": "inductive"}
    found = runs(
        ("none", common),
        ("dann", common | {"batch-norm statistics": "joint"}),
        ("weights", common | {"effective sample size": "9 of 20", "a": "b"}),
        ("weights", common | {"effective sample size": "7 of 20", "a": "b"}),
    )
    assert list(facts_of_all(found).items()) == list(common.items())
    assert facts_of_settings(found) == {
        "none": "",
        "dann": "batch-norm statistics: joint",
        "weights": "a: b; effective sample size: 9 of 20 / 7 of 20",
    }


def test_a_fact_that_differs_is_shared_by_none():
    found = runs(("a", {"protocol": "inductive"}), ("b", {"protocol": "transductive"}))
    assert facts_of_all(found) == {}
    assert facts_of_settings(found) == {"a": "protocol: inductive", "b": "protocol: transductive"}


def test_runs_without_facts_or_without_an_end_add_nothing():
    failed = runs(("a", {"protocol": "inductive"}), status="failed")
    assert facts_of_all(failed) == {}
    assert facts_of_settings(failed) == {}
    old = runs(("a", {"protocol": "inductive"})).assign(protocol=[None])
    assert facts_of_all(old) == {}
    assert facts_of_settings(old) == {"a": ""}
