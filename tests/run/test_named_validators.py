"""Requested validators are used or refused; default ones are omitted if they are undefined."""

from dataclasses import replace

import pytest

from tl_lab.config import compose
from tl_lab.errors import UserError
from tl_lab.run.pairing import check_pairing
from tl_lab.run.plan import Plan

PROPERTIES = ["data=printed_to_handwritten_properties", "domain_adaptation=none"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*PROPERTIES, "validator=snd"], "validator=snd supports single-label problems, and data="),
        (["data=digits", "backbone=mlp", "validator=[entropy]"], "validator=entropy needs two domains, and data="),
    ],
)
def test_a_validator_that_is_named_and_means_nothing_is_refused(overrides: list[str], message: str) -> None:
    plan = Plan.of(compose(overrides))
    check_pairing(plan)  # as if it were the default
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        check_pairing(replace(plan, overrides=overrides))
    check_pairing(replace(plan, overrides=overrides, resumes=True))
