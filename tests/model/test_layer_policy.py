import pytest

from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy

GROUPS = ["stem", "low", "middle", "top"]


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [("all", GROUPS), ("none", []), (0, []), (2, ["middle", "top"]), (["top", "stem"], ["stem", "top"])],
)
def test_chosen_groups(trainable, expected):
    assert LayerPolicy(trainable).chosen(GROUPS) == expected


def test_discriminative_rates_fall_by_the_factor_per_group():
    shares = LayerPolicy(backbone_lr=0.5, decay=2.6).shares(GROUPS)
    assert shares == pytest.approx({"top": 0.5, "middle": 0.5 / 2.6, "low": 0.5 / 2.6**2, "stem": 0.5 / 2.6**3})


def test_gradual_unfreezing_starts_with_only_the_head():
    policy = LayerPolicy(unfreeze_every=1)
    assert [policy.learning(GROUPS, epoch) for epoch in (0, 1, 2, 4, 9)] == [
        [],
        ["top"],
        ["middle", "top"],
        GROUPS,
        GROUPS,
    ]
    assert LayerPolicy(2, unfreeze_every=3).learning(GROUPS, 5) == ["top"]
    assert LayerPolicy(2, unfreeze_every=3).learning(GROUPS, 99) == ["middle", "top"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainable": "some"}, "'all', 'none'"),
        ({"trainable": -1}, ">= 0"),
        ({"backbone_lr": 0.0}, "above 0"),
        ({"decay": -2.6}, "above 0"),
        ({"unfreeze_every": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        LayerPolicy(**options)


def test_wrong_groups_are_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="'middle'"):
        LayerPolicy(["midle"]).chosen(GROUPS)
    with pytest.raises(UserError, match="has 4 layer groups"):
        LayerPolicy(5).chosen(GROUPS)


def test_without_a_given_rate_the_top_group_is_one_decay_below_the_head():
    # Howard and Ruder: rates fall by 2.6 from each layer to the one below, the head being the last layer
    shares = LayerPolicy(decay=2.6).shares(GROUPS)
    assert shares == pytest.approx({"top": 1 / 2.6, "middle": 1 / 2.6**2, "low": 1 / 2.6**3, "stem": 1 / 2.6**4})
    assert LayerPolicy().shares(GROUPS) == dict.fromkeys(GROUPS, 1.0)


def test_a_given_rate_or_decay_overrides_the_strategys_default_rate():
    assert LayerPolicy(2, unfreeze_every=3).or_rate(0.1).shares(GROUPS) == dict.fromkeys(GROUPS, 0.1)
    assert LayerPolicy(2, unfreeze_every=3).or_rate(0.1).learning(GROUPS, 3) == ["top"]
    assert LayerPolicy(backbone_lr=0.5).or_rate(0.1).shares(GROUPS)["top"] == 0.5
    assert LayerPolicy(decay=2.0).or_rate(0.1).shares(GROUPS)["top"] == 0.5
