"""Whether a backbone counts as trained: by its own state, its options, or as a class of another package."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from encoders_at_hand import tiny

from tl_lab.backbones.mlp import MLP
from tl_lab.config import compose
from tl_lab.run.plan import Plan, Recipe
from tl_lab.run.weights import describe_weights, starts_trained

STRATEGY = Recipe("zero_shot", {"_target_": "tl_lab.strategies.zero_shot.ZeroShot"})


class Loaded(MLP):
    """A user's class, which may load its weights in its constructor."""

    def __init__(self, pretrained: bool = False, source: str | None = None) -> None:
        super().__init__(hidden=[4], in_channels=1, input_size=[8, 8])
        if source is not None:
            self.source = source


class InPart(Loaded):
    """A user's class with random layers above the loaded ones."""

    pretrained_in_part = True


def trained(target: str, **options: Any) -> bool:
    recipe = Recipe("own", {"_target_": target, **options})
    plan = SimpleNamespace(backbone=recipe, init_from=None, strategy=STRATEGY)
    return starts_trained(cast(Plan, plan), recipe.build())


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("Loaded", {}, True),
        ("Loaded", {"source": ""}, True),
        ("Loaded", {"source": "a file"}, True),
        ("Loaded", {"pretrained": True}, True),
        ("Loaded", {"pretrained": False}, False),
        ("Loaded", {"pretrained": False, "source": "a file"}, True),
        ("InPart", {}, False),
        ("InPart", {"source": "a file"}, False),
    ],
)
def test_a_class_of_another_package_is_trained_unless_it_says_otherwise(
    name: str, options: dict[str, Any], expected: bool
) -> None:
    assert trained(f"{__name__}.{name}", **options) is expected


def test_an_own_class_without_weights_is_random() -> None:
    assert not trained("tl_lab.backbones.mlp.MLP", hidden=[4], in_channels=1, input_size=[8, 8])


def test_a_replaced_network_is_random_whatever_its_options_say(tmp_path: Path) -> None:
    target, encoder = "tl_lab.backbones.layout_text.LayoutText", str(tiny(tmp_path / "encoder", "bert"))
    assert trained(target, name=encoder, pretrained=True)
    assert not trained(target, name=encoder, pretrained=True, small=True)
    assert not trained(target, name=encoder, pretrained=False)


@pytest.mark.parametrize(("small", "words"), [("false", "pretrained, as published"), ("true", "random")])
def test_the_banner_calls_a_replaced_network_random(small: str, words: str) -> None:
    cfg = compose(["data=receipts", "backbone=layout_text", f"backbone.small={small}", "strategy=fine_tuning"])
    assert describe_weights(Plan.of(cfg)).startswith(words)
