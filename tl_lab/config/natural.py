"""Natural choices: defaults that a choice sets for other groups if neither the command line nor an experiment does.

A choice states them in the header of its own YAML file, like Hydra's ``# @package``, in one word:

    # @natural backbone=mlp,domain_adaptation=dann     data: vectors with an unlabelled target
    # @natural domain_adaptation=dann,where=datasets   data: applies if all data that ``datasets`` lists have a target
    # @natural data=glyph_episodes                     strategy
    # @natural backbone=hf_causal                      strategy for one kind of backbone
    # @natural adapter=lora                            strategy that trains an adapter
    # @natural texts=which_transfer_texts              experiment that another one replaces for texts
    # @natural recordings=which_transfer_recordings    experiment that another one replaces for recordings
    # @natural domain_adaptation=none                  strategy that does not support adaptation
    # @natural strategy=fine_tuning                    backbone with pretrained weights

If the command line lists sets (``data.datasets=[...]``), the backbone is that of the first one.
``domain_adaptation=auto`` is replaced by a choice before composition, separately for each job of a sweep.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tl_lab.config.catalogue import outside_folders

__all__ = ["AUTO", "Loader", "Natural", "choose", "composing_once", "declared", "install", "keeps_frozen", "reasons_of"]

AUTO = "domain_adaptation=auto"
_KINDS_OF_DATA = {"hf_text": "texts", "audio_cnn": "recordings"}
"""Kinds of data for which another experiment may replace the chosen one, by their natural backbone."""

_SETS = "data.datasets"
Declared = Callable[[str, str], Mapping[str, str]]


class Natural(NamedTuple):
    """A choice that the user did not make, and the reason for it."""

    choice: str
    reason: str


def declared(header: str | None) -> dict[str, str]:
    """Parse the declarations in a header.

    Args:
        header: the text after ``# @natural``: ``backbone=mlp,domain_adaptation=dann``; None for a file without one.

    Returns:
        Choices by group, and ``where``.
    """
    pairs = [pair.partition("=") for pair in (header or "").split(",") if pair]
    return {group: choice for group, _, choice in pairs}


def choose(
    choices: Mapping[str, str], given: Collection[str], declarations: Declared, first: str | None = None
) -> dict[str, Natural]:
    """Find the natural choices of a run.

    Args:
        choices: choices by group, including inner groups (``data@data.of``).
        given: groups that the command line or an experiment's file sets.
        declarations: function that returns the declarations of a group's choice (see :func:`declared`).
        first: choice of the first set in ``data.datasets``, if the command line lists sets.

    Returns:
        Natural choices by group; groups that keep their choice are omitted.
    """
    found: dict[str, Natural] = {}
    strategy, data = choices["strategy"], choices["data"]
    of_strategy = declarations("strategy", strategy)
    if "data" not in given and "data" in of_strategy:
        data = of_strategy["data"]
        found["data"] = Natural(data, f"default for strategy={strategy}")
    of_data = declarations("data", data)
    of_inputs = of_data if first is None else declarations("data", first)
    if "backbone" not in given and "backbone" in of_strategy:
        found["backbone"] = Natural(of_strategy["backbone"], f"default for strategy={strategy}")
    elif "backbone" not in given and "backbone" in of_inputs:
        where = f"data={data}" if first is None else f"data={first} in data.datasets"
        found["backbone"] = Natural(of_inputs["backbone"], f"default for {where}")
    backbone = found["backbone"].choice if "backbone" in found else choices["backbone"]
    if "strategy" not in given and "strategy" in (of_backbone := declarations("backbone", backbone)):
        strategy = of_backbone["strategy"]
        found["strategy"] = Natural(strategy, f"default for backbone={backbone}, which is pretrained")
        of_strategy = declarations("strategy", strategy)
    if "adapter" not in given and "adapter" in of_strategy:
        found["adapter"] = Natural(of_strategy["adapter"], f"default for strategy={strategy}")
    if choices["domain_adaptation"] != "auto":
        return found
    inner = choices.get(f"data@data.{of_data['where']}") if "where" in of_data else None
    if inner is not None and "domain_adaptation" not in declarations("data", inner):
        of_data = {}
    if "domain_adaptation" in of_strategy:
        chosen = Natural(of_strategy["domain_adaptation"], f"strategy={strategy} does not use a target")
    elif "domain_adaptation" in of_data:
        chosen = Natural(of_data["domain_adaptation"], f"data={data} has an unlabelled target")
    else:
        chosen = Natural("none", f"data={data} has no target")
    return found | {"domain_adaptation": chosen}


def keeps_frozen(strategy: Mapping[str, Any], max_epochs: int | None) -> bool:
    """Whether no layer below the head is ever trained, so that an adaptation would have no effect.

    Args:
        strategy: node of the strategy.
        max_epochs: number of epochs of the run.
    """
    layers = strategy.get("layers")
    if not isinstance(layers, Mapping):  # a mistake that is reported when values are checked
        return False
    every = layers.get("unfreeze_every")
    waits = isinstance(every, int) and isinstance(max_epochs, int) and every >= max_epochs
    return strategy.get("bottleneck") is None and (waits or layers.get("trainable") in ("none", 0, []))


def reasons_of(hydra: Any) -> list[str]:
    """List a composed configuration's natural choices with reasons: ``backbone=mlp (default for data=moons)``.

    Args:
        hydra: Hydra's own part of the configuration.
    """
    noted = (hydra.get("env") or {}).get("natural") or {}
    return [f"{group}={hydra.runtime.choices[group]} ({reason})" for group, reason in noted.items()]


def install() -> None:
    """Make Hydra compose with natural choices, in this process and in those that it starts."""
    import hydra._internal.hydra as engine

    setattr(engine, "ConfigLoaderImpl", Loader)  # noqa: B010  (Hydra has no public place for it)


_REMEMBERED: dict[tuple[str, ...], dict[str, Natural]] = {}
"""Cached natural choices: the program composes several times at its start, and once per job of a sweep."""


_COMPOSED: dict[Any, tuple[list[str], DictConfig]] = {}
"""Cached compositions, with the values of Hydra's own part; the program requests each three times at its start."""

_composing_once: ContextVar[bool] = ContextVar("_composing_once", default=False)


@contextmanager
def composing_once() -> Iterator[None]:
    """Compose equal command lines only once within the context."""
    token = _composing_once.set(True)
    try:
        yield
    finally:
        _composing_once.reset(token)
        _COMPOSED.clear()


def _sets_hydra(text: str) -> bool:
    """Whether an override sets a value of Hydra's own part, which does not affect the rest."""
    return text.startswith("hydra.") and not text.startswith("hydra.searchpath")


def _composed_by(config_name: str | None, overrides: Sequence[str], run_mode: RunMode, validated: bool) -> Any:
    """Return the cache key of a composition; None if it must not be cached."""
    if not _composing_once.get() or outside_folders() or any("hydra.searchpath" in text for text in overrides):
        return None
    # Hydra composes without validation only to look up hydra.mode, which the composition of a single run also contains
    mode = run_mode if validated else RunMode.RUN
    return (config_name, mode, *(text for text in overrides if not _sets_hydra(text)))


def _copy_with(composed: DictConfig, texts: Sequence[str]) -> DictConfig:
    """Copy a composition and set values of Hydra's own part in it."""
    cfg = deepcopy(composed)
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(list(texts)), cfg)
    cfg.hydra.overrides.hydra.extend(texts)
    return cfg


def _key(config_name: str, single: Sequence[Override], repo: Any) -> tuple[str, ...] | None:
    """Return a cache key for natural choices (choices of groups and sets); None if files are from outside folders."""
    if outside_folders():
        return None
    given = [str(one.input_line) for one in single if one.key_or_group == _SETS or repo.group_exists(one.key_or_group)]
    return (config_name, *(source.path for source in repo.get_sources()), *given)


class Loader(ConfigLoaderImpl):
    """Hydra's loader of configurations, with natural choices; launchers of other packages call it for each job."""

    _chosen: Mapping[str, Natural] = {}  # natural choices of the last composition; its files are ``_files``
    _files: Any = None

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose a configuration; ``hydra.env.natural`` contains the reasons for its natural choices."""
        key = _composed_by(config_name, overrides, run_mode, validate_sweep_overrides)
        values = [text for text in overrides if _sets_hydra(text)]
        if key in _COMPOSED:
            applied, composed = _COMPOSED[key]
            if values[: len(applied)] == applied:
                return _copy_with(composed, values[len(applied) :])
        cfg = self._compose(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if key is not None:
            _COMPOSED[key] = (values, deepcopy(cfg))
        return cfg

    def _compose(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool,
        validate_sweep_overrides: bool,
    ) -> DictConfig:
        def load(texts: list[str]) -> DictConfig:
            return super(Loader, self).load_configuration(
                config_name, texts, run_mode, from_shell, validate_sweep_overrides
            )

        cfg = load(overrides)
        chosen = dict(self._chosen)
        adaptation = chosen.get("domain_adaptation", Natural("none", ""))
        if adaptation.choice != "none" and (reason := self._objection(cfg)):
            cfg = load([*(text for text in overrides if text != AUTO), "domain_adaptation=none"])
            chosen = dict(self._chosen) | {"domain_adaptation": Natural("none", reason)}
        with open_dict(cfg.hydra):
            cfg.hydra.overrides.task = self._as_given(overrides, run_mode, chosen)
            if chosen:
                cfg.hydra.env.natural = {group: natural.reason for group, natural in chosen.items()}
        return cfg

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """List the choices of a group, without shared files (``_name.yaml``)."""
        names = super().get_group_options(group_name, results_filter, config_name, overrides)
        return [name for name in names if not name.startswith("_") or group_name.startswith("hydra")]

    def _as_given(self, overrides: Sequence[str], run_mode: RunMode, chosen: Mapping[str, Natural]) -> list[str]:
        """Return the given overrides; in a single run, ``auto`` is replaced by the choice."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        texts = [str(one.input_line) for one in parsed if not one.is_hydra_override()]
        if run_mode == RunMode.MULTIRUN or "domain_adaptation" not in chosen:  # in a sweep, each job replaces ``auto``
            return texts
        name = f"domain_adaptation={chosen['domain_adaptation'].choice}"
        return [name if text == AUTO else text for text in texts]

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], Any]:
        parsed, repo = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        if (instead := _for_these_data(parsed, repo)) is not None:
            named = [text for text in overrides if not text.startswith("experiment=")]
            parsed, repo = super()._parse_overrides_and_create_caching_repo(
                config_name, [*named, f"experiment={instead}"]
            )
        self._chosen, self._files = {}, repo
        with suppress(HydraException, OmegaConfBaseException, ValueError):  # Hydra reports the same error
            self._chosen = self._natural(config_name, parsed, repo)
        texts = [f"{group}={natural.choice}" for group, natural in self._chosen.items()] + _length(parsed)
        kept = [one for one in parsed if not (one.input_line == AUTO and "domain_adaptation" in self._chosen)]
        return [*kept, *OverridesParser.create().parse_overrides(texts)], repo

    def _natural(self, config_name: str | None, parsed: list[Override], repo: Any) -> dict[str, Natural]:
        if config_name is None:
            return {}
        single = [_first(one) if one.is_sweep_override() else one for one in parsed]
        key = _key(config_name, single, repo)
        if key is None or key not in _REMEMBERED:
            found = self._choose(config_name, single, repo)
            if key is None:
                return self._unswept(found, parsed)
            _REMEMBERED[key] = found
        return self._unswept(_REMEMBERED[key], parsed)

    @staticmethod
    def _unswept(found: Mapping[str, Natural], parsed: Sequence[Override]) -> dict[str, Natural]:
        swept = {one.key_or_group for one in parsed if one.is_sweep_override()}
        return {group: natural for group, natural in found.items() if group not in swept}

    @staticmethod
    def _choose(config_name: str, single: list[Override], repo: Any) -> dict[str, Natural]:
        defaults = create_defaults_list(repo, config_name, single, prepend_hydra=True, skip_missing=True)
        choices = {group: str(name) for group, name in defaults.overrides.known_choices.items()}
        if not {"strategy", "data", "backbone", "domain_adaptation"} <= set(choices):
            return {}  # a configuration of another program
        given = defaults.overrides.override_choices
        return choose(choices, given, lambda *names: _declarations(repo, *names), _first_set(single))

    def _objection(self, cfg: DictConfig) -> str:
        """Return the reason for which the configured values do not allow an adaptation; empty if they do."""
        if keeps_frozen(cfg.strategy, cfg.trainer.get("max_epochs")):
            return "strategy.layers keeps the whole backbone frozen, and there is no bottleneck"
        data = cfg.hydra.runtime.choices.data
        where = _declarations(self._files, "data", data).get("where")
        inner = OmegaConf.select(cfg, f"data.{where}") if where else None
        if where == "target" and inner is None:
            return f"data={data} has no target"
        if isinstance(inner, ListConfig) and not all(_has_target(self._files, one) for one in inner):
            return f"data={data} has no target"
        return ""


def _for_these_data(parsed: Sequence[Override], repo: Any) -> str | None:
    """Return the experiment that replaces the chosen one for this kind of data; None to keep the chosen one."""
    given = {one.key_or_group: one for one in parsed if not one.is_sweep_override()}
    experiment, data = given.get("experiment"), given.get("data")
    if experiment is None or data is None or not isinstance(data.value(), str):
        return None
    with suppress(HydraException, OmegaConfBaseException, ValueError):  # Hydra reports the same error
        kind = _KINDS_OF_DATA.get(_declarations(repo, "data", str(data.value())).get("backbone", ""), "")
        return _declarations(repo, "experiment", str(experiment.value())).get(kind)
    return None


def _length(parsed: Sequence[Override]) -> list[str]:
    """Return an override that clears the files' number of epochs if the command line gives a number of updates."""
    given = {one.key_or_group: one for one in parsed}
    updates = given.get("trainer.max_updates")
    counted = updates is not None and not updates.is_sweep_override() and updates.value() is not None
    return ["trainer.max_epochs=null"] if counted and "trainer.max_epochs" not in given else []


def _first_set(single: Sequence[Override]) -> str | None:
    """Return the choice of the first set that ``data.datasets`` lists on the command line; None if there is none."""
    given = [one.value() for one in single if one.key_or_group == _SETS]
    if not given or not isinstance(given[-1], list) or not given[-1]:
        return None
    one = given[-1][0]
    name = one.get("data") if isinstance(one, dict) else one
    return str(name) if isinstance(name, str) else None


def _first(override: Override) -> Override:
    """Return an override with the first value of a swept group, which determines the options of the whole sweep."""
    with suppress(ValueError):  # glob(...)
        value = next(override.sweep_string_iterator())
        return OverridesParser.create().parse_override(f"{override.get_key_element()}={value}")
    return override


def _declarations(repo: Any, group: str, choice: str) -> Mapping[str, str]:
    """Read the declarations of a choice; for an outside file without any, those of its class."""
    result = repo.load_config(f"{group}/{choice}")
    if result is None:
        return {}
    header = result.header.get("natural")
    return declared(header) if header is not None or result.provider == "main" else _of_class(group, result.config)


def _of_class(group: str, node: DictConfig) -> dict[str, str]:
    with suppress(Exception):  # mistakes in the node are reported when the run begins
        kind: Any = get_class(node._target_)
        if group == "data":
            return {"domain_adaptation": "dann"} if kind.target_for(node) else {}
        return {} if kind.trains and not getattr(kind, "jointly", False) else {"domain_adaptation": "none"}
    return {}


def _has_target(repo: Any, one: Any) -> bool:
    """Whether inner data, given by a choice's name or a node, are a domain pair."""
    if isinstance(one, str):
        return "domain_adaptation" in _declarations(repo, "data", one)
    return "domain_adaptation" in _of_class("data", one)
