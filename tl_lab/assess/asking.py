"""From a command line to what is assessed: one plan a backbone, on the same data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tl_lab.assess.options import Assessment
from tl_lab.cli import arguments
from tl_lab.config import conf_dir, raise_if_wrong, to_plain
from tl_lab.config.instantiate import build_node
from tl_lab.errors import UserError
from tl_lab.run.plan import Plan

__all__ = ["Asked", "composed", "read"]


@dataclass(frozen=True)
class Asked:
    """What is assessed.

    Args:
        options: of the assessment.
        plans: one a backbone, alike in everything else.
        overrides: as they were given.
    """

    options: Assessment
    plans: tuple[Plan, ...]
    overrides: tuple[str, ...]


def read(overrides: Sequence[str]) -> Asked:
    """Compose and check what is to be assessed.

    Args:
        overrides: as those of a run, and ``assess=<choice>``, ``assess.<option>=...``, ``backbone=[a,b]``.

    Raises:
        UserError: something in them is wrong.
    """
    names, rest = _several(overrides)
    if not any(text.lstrip("+").startswith(("assess=", "experiment=")) for text in rest):
        rest = [*rest, "assess=quick"]
    first, plan = composed([*rest, *([f"backbone={names[0]}"] if names else [])])
    if first.get("assess") is None:
        rest = [*rest, "assess=quick"]
        first, plan = composed([*rest, *([f"backbone={names[0]}"] if names else [])])
    options: Assessment = build_node(first["assess"])
    if not names and options.backbones:
        names = options.backbones
        plan = composed([*rest, f"backbone={names[0]}"])[1]
    others = [composed([*rest, f"backbone={name}"])[1] for name in names[1:]]
    return Asked(options, (plan, *others), tuple(overrides))


def _several(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take ``backbone=[a,b]`` out of a command line."""
    names: list[str] = []
    rest: list[str] = []
    for text in overrides:
        key, _, value = text.partition("=")
        if key == "backbone" and value.startswith("[") and value.endswith("]"):
            names = [name.strip().strip("'\"") for name in value[1:-1].split(",") if name.strip()]
            if not names:
                raise UserError(f"{text!r} names no backbone: write backbone=[a,b]")
        else:
            rest.append(text)
    return list(dict.fromkeys(names)), rest


def composed(texts: list[str]) -> tuple[dict[str, Any], Plan]:
    """Compose, check and read one configuration.

    Args:
        texts: overrides.

    Returns:
        The configuration, with the assessment's options, and the plan of a run.

    Raises:
        UserError: something in them is wrong.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from tl_lab.config.natural import composing_once, install

    with composing_once():
        checked = arguments.check(texts, [])
        if checked.multirun:
            raise UserError("assess compares backbones by backbone=[a,b], and takes no sweep")
        install()
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = hydra.compose("config", overrides=texts, return_hydra_config=True)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        plain: DictConfig = OmegaConf.create(to_plain(config))
        raise_if_wrong(plain)
        plan = Plan.of(plain)
    finally:
        HydraConfig.instance().cfg = before
    return to_plain(plain), replace(plan, config={key: value for key, value in plan.config.items() if key != "assess"})
