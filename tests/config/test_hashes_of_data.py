"""An option that is added later leaves the hash of earlier runs as it was while it has its default."""

import json
from pathlib import Path

import pytest

from tl_lab.config import choices, compose
from tl_lab.config.identity import config_hash

FROZEN = json.loads((Path(__file__).parent / "hashes_of_data.json").read_text(encoding="utf-8"))
"""Beginning of the hash of a run with the defaults of each choice of data."""


def test_every_choice_has_a_frozen_hash() -> None:
    assert FROZEN.keys() == choices("data")["data"].keys()


@pytest.mark.parametrize("data", FROZEN)
def test_the_hash_of_a_run_with_default_options_is_frozen(data: str) -> None:
    """If this fails for a new option, add it to the later options in ``tl_lab/config/identity.py``."""
    assert config_hash(compose([f"data={data}"])).startswith(FROZEN[data])
