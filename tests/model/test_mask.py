"""Rules of parameters, and the two sources of these rules."""

import pytest

from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.mask import Mask, Rule, narrowed

GROUPS = {"stem": ["stem.weight"], "middle": ["middle.weight", "middle.bias"], "top": ["top.weight", "top.bias"]}


def test_a_layer_policy_writes_one_rule_for_each_parameter_of_a_group():
    rules = LayerPolicy(2, backbone_lr=0.5, decay=2.0, unfreeze_every=3).rules(GROUPS)
    assert rules == {
        "stem.weight": Rule("backbone/stem", learns=False, share=0.125),
        "middle.weight": Rule("backbone/middle", share=0.25, starts=6),
        "middle.bias": Rule("backbone/middle", share=0.25, starts=6),
        "top.weight": Rule("backbone/top", share=0.5, starts=3),
        "top.bias": Rule("backbone/top", share=0.5, starts=3),
    }


@pytest.mark.parametrize("trainable", ["all", "none", 2, ["stem", "top"]])
@pytest.mark.parametrize("unfreeze_every", [None, 1, 2])
def test_a_mask_trains_the_parameters_of_the_chosen_groups(trainable, unfreeze_every):
    policy = LayerPolicy(trainable, unfreeze_every=unfreeze_every)
    mask = Mask(policy.rules(GROUPS))
    for epoch in range(8):
        learning = {name for group in policy.learning(list(GROUPS), epoch) for name in GROUPS[group]}
        assert mask.learning(epoch) == learning
    assert mask.learned() == [name for group in policy.chosen(list(GROUPS)) for name in GROUPS[group]]


def test_an_adapter_narrows_the_rules_and_keeps_rates_and_epochs():
    rules = narrowed(LayerPolicy(unfreeze_every=1).rules(GROUPS), lambda name: name.endswith("bias"))
    mask = Mask(rules)
    assert mask.groups() == {"backbone/middle": ["middle.bias"], "backbone/top": ["top.bias"]}
    assert [mask.learning(epoch) for epoch in range(3)] == [set(), {"top.bias"}, {"middle.bias", "top.bias"}]
    assert mask["middle.weight"] == Rule("backbone/middle", learns=False, starts=2)


def test_the_repr_of_a_mask_counts_trained_parameters():
    mask = Mask(LayerPolicy(["top"]).rules(GROUPS))
    assert len(mask) == 5
    assert list(mask) == ["stem.weight", "middle.weight", "middle.bias", "top.weight", "top.bias"]
    assert repr(mask) == "Mask(2 of 5 parameters trained)"


def test_a_policy_refuses_unknown_groups():
    with pytest.raises(UserError, match="midle"):
        LayerPolicy(["midle"]).rules(GROUPS)
