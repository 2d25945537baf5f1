"""A cache of Hydra's composition: each start composes three times, which takes longer than many tiny runs.

Which files a configuration is made of, and these files merged, depend on the chosen groups only. Both are kept for
the process, and copied for each use; the overrides of values are applied to the copy by Hydra itself, each time.
Programs that tests start as processes of their own compose without this.
"""

import copy
import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.utils import get_class
from omegaconf import OmegaConf, flag_override

from tl_lab.config import choices, conf_dir
from tl_lab.config.natural import install
from tl_lab.config.nodes import read_node
from tl_lab.run.experiment import run

__all__ = ["ORIGINALS", "remember", "run_in", "strategy_class"]


ORIGINALS: list[tuple[Any, str, Any]] = [
    (config_loader_impl, "create_defaults_list", config_loader_impl.create_defaults_list),  # type: ignore[attr-defined]
    (ConfigLoaderImpl, "_compose_config_from_defaults_list", ConfigLoaderImpl._compose_config_from_defaults_list),
    (ConfigRepository, "load_config", ConfigRepository.load_config),
    (ConfigLoaderImpl, "_load_single_config", ConfigLoaderImpl._load_single_config),
    (defaults_list, "_create_interpolation_map", defaults_list._create_interpolation_map),
]
"""What is remembered or cut short: where it lives, its name, and Hydra's own function."""


def remember() -> None:
    """Let Hydra keep what it has composed from this project's files; files of other folders may change."""
    kinds = (_remembered_defaults, _remembered_files, _remembered_texts, _copied, _map_where_it_is_used)
    for (place, name, original), kind in zip(ORIGINALS, kinds, strict=True):
        setattr(place, name, kind(original))
    # each composition copies the sources of files, and with this one all that is registered, to write to neither
    setattr(registered_source(), "__deepcopy__", lambda self, memo: copy.copy(self))  # noqa: B010


def registered_source() -> type:
    """Give Hydra's class of sources for registered nodes: its plugins are imported anew when it first looks."""
    Plugins.instance()
    return SourcesRegistry.instance().resolve("structured")


@functools.cache
def strategy_class(name: str) -> type:
    """Return the class of a choice of ``strategy``; several files select their cases by it when they are imported."""
    return get_class(read_node(choices("strategy")["strategy"][name])._target_)


def run_in(folder: Path, *overrides: str) -> dict[str, Any]:
    """Compose once and run in a folder, for tests of what runs and not of the command line; return the results.

    Raises:
        UserError: what the command line would say.
    """
    install()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
    folder.mkdir(parents=True)
    OmegaConf.set_readonly(cfg.hydra, False)
    cfg.hydra.runtime.output_dir = str(folder)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        run(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))
    finally:
        HydraConfig.instance().cfg = before
    return json.loads((folder / "results.json").read_text())


def _sources(repo: Any) -> tuple[str, ...] | None:
    """Return where the files come from, or ``None`` where some are not the project's or Hydra's."""
    paths = tuple(f"{source.scheme()}://{source.path}" for source in repo.get_sources())
    known = {"pkg://hydra.conf", "structured://", f"file://{conf_dir()}", "pkg://tl_lab.conf"}
    return paths if set(paths) <= known else None


def _remembered_defaults(create: Any) -> Any:
    kept: dict[Any, Any] = {}

    @functools.wraps(create)
    def create_defaults_list(
        repo: Any, config_name: Any, overrides_list: Any, prepend_hydra: bool, skip_missing: bool
    ) -> Any:
        sources = _sources(repo)
        if sources is None:
            return create(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        given = [override for override in overrides_list if not override.is_sweep_override()]
        values = [one for one in given if isinstance(one.value(), dict) or not repo.group_exists(one.key_or_group)]
        chosen = [override for override in given if override not in values]
        key = (sources, config_name, tuple(one.input_line for one in chosen), prepend_hydra, skip_missing)
        if key not in kept:
            kept[key] = create(repo, config_name, chosen, prepend_hydra, skip_missing)
        found = copy.copy(kept[key])
        found.config_overrides = values
        return found

    return create_defaults_list


def _remembered_files(compose: Any) -> Any:
    """Keep merged files, and apart from them what all compositions begin with: Hydra's own part and ``config.yaml``.

    No file sets to null what ``config.yaml`` has as a mapping, so that the order of merging makes no difference.
    """
    kept: dict[Any, Any] = {}

    def merged(self: Any, defaults: Any, repo: Any) -> Any:
        cfg = OmegaConf.create()
        with flag_override(cfg, "no_deepcopy_set_nodes", True):
            for default in defaults:
                cfg.merge_with(self._load_single_config(default=default, repo=repo).config)
        return cfg

    @functools.wraps(compose)
    def _compose_config_from_defaults_list(self: Any, defaults: Any, repo: Any) -> Any:
        sources = _sources(repo)
        if sources is None:
            return compose(self, defaults, repo)
        names = [(one.config_path, one.parent, one.package, one.is_self, one.primary) for one in defaults]
        if (key := (sources, tuple(names))) not in kept:
            count = next((i for i, name in enumerate(names) if not str(name[0]).startswith("hydra")), 0) + 1
            if (start := (sources, tuple(names[:count]))) not in kept:
                kept[start] = merged(self, defaults[:count], repo)
            parts = [_Merged(config=copy.deepcopy(kept[start]))]
            if defaults[count:]:  # merged on their own first: each merge goes through all that is there
                parts.append(_Merged(config=merged(self, defaults[count:], repo)))
            kept[key] = compose(self, parts, repo)
        return copy.deepcopy(kept[key])

    return _compose_config_from_defaults_list


class _Merged(NamedTuple):
    """Files that are merged already, in the place of one."""

    config: Any
    config_path: str = ""


def _remembered_texts(load: Any) -> Any:
    kept: dict[Any, Any] = {}

    @functools.wraps(load)
    def load_config(self: Any, config_path: str) -> Any:
        sources = _sources(self)
        if sources is None:
            return load(self, config_path)
        if (sources, config_path) not in kept:
            found = load(self, config_path)
            if found is None:  # a plugin may register it later
                return None
            kept[sources, config_path] = found
        return copy.copy(kept[sources, config_path])

    return load_config


def _copied(load: Any) -> Any:
    """Copy what is merged: merging takes over the nodes themselves, and finding the files only reads them."""

    @functools.wraps(load)
    def _load_single_config(self: Any, default: Any, repo: Any) -> Any:
        if isinstance(default, _Merged):
            return default
        found = load(self, default, repo)
        if found.config is repo.load_config(default.config_path).config:
            found = copy.copy(found)
            found.config = copy.deepcopy(found.config)
        return found

    return _load_single_config


def _map_where_it_is_used(create: Any) -> Any:
    """Leave out the mapping for ``${...}`` in a list of defaults that has none: it takes as long as all the rest."""
    empty = OmegaConf.create()

    @functools.wraps(create)
    def _create_interpolation_map(overrides: Any, defaults: Any, self_added: bool) -> Any:
        used = any(getattr(one, "node", one).is_interpolation() for one in defaults)
        return create(overrides, defaults, self_added) if used else empty

    return _create_interpolation_map
