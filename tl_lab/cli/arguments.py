"""Mistakes on the command line, found before anything runs and said with the nearest valid names."""

import contextlib
import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tl_lab.config import choices, conf_dir
from tl_lab.config.declared import ELSEWHERE, NEEDED, PLAIN
from tl_lab.errors import UserError, nearest

__all__ = [
    "CONFIG_DIR",
    "MULTIRUN",
    "SHOWING",
    "UNCHECKED",
    "Checked",
    "check",
    "config_dirs",
    "nearby",
    "plain_or_quoted",
    "quote",
    "resumed_folder",
    "split",
]

Flags = list[tuple[str, str | None]]

CONFIG_DIR = frozenset({"--config-dir", "-cd"})
# these print something; what they print still has to compose
SHOWING = frozenset({"--cfg", "-c", "--help", "-h"})
# these answer for themselves, or replace the configuration that the check knows
UNCHECKED = frozenset(
    {"--hydra-help", "--version", "--shell-completion", "-sc", "--info", "-i", "--experimental-rerun"}
    | {"--config-path", "-cp", "--config-name", "-cn"}
)
_COMPLETION = frozenset({"--shell-completion", "-sc"})
# groups of which several are chosen: group=[a,b], or +group=c beside the defaults
_LISTS = frozenset({"logger", "validator"})
_OPTIONAL = frozenset({"assess", "experiment", "search"})  # groups of which nothing need be chosen
_RANGE = re.compile(r"([^=]+)=(\d+)\.\.\.?(\d+)")
MULTIRUN = frozenset({"--multirun", "-m"})
_WITH_VALUE = frozenset(
    {"--cfg", "-c", "--package", "-p", "--experimental-rerun"}
    | {"--config-path", "-cp", "--config-name", "-cn"}
    | CONFIG_DIR
)
_SWITCHES = UNCHECKED | SHOWING | MULTIRUN | {"--resolve", "--run", "-r"}
_SHOWN = frozenset({"job", "hydra", "all"})
# of these one is given
_ALONE = (("--run", "-r"), ("--multirun", "-m"), ("--cfg", "-c"), ("--info", "-i"), ("--shell-completion", "-sc"))
_COMMANDS = {name: names[0] for names in _ALONE for name in names}
_DOTS = re.compile(r"^[\w.]+=\d+\.\.\d+$")
_INFO = frozenset({"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"})


@dataclass(frozen=True)
class Checked:
    """What a correct command line amounts to.

    Attributes:
        multirun: several runs were asked for.
        folder: where the run, or the sweep, will write.
        launcher: of a sweep: the class that starts its jobs.
        sweeper: the class that says which jobs these are.
        resumes: the sweep is to go on with what is missing or failed.
        first: overrides of the first run, where there are several.
        of_jobs: those of the given overrides whose key only the jobs' configurations have.
    """

    multirun: bool
    folder: str
    launcher: str
    sweeper: str
    resumes: bool
    first: tuple[str, ...] = ()
    of_jobs: frozenset[str] = frozenset()


def split(given: Sequence[str]) -> tuple[Flags, list[str]]:
    """Separate options from overrides.

    Args:
        given: the command line's arguments, in any order.

    Returns:
        Options with their values (``None`` where they take none), and overrides (``key=value``).

    Raises:
        UserError: an option does not exist, or lacks its value.
    """
    flags: Flags = []
    overrides: list[str] = []
    rest = list(given)
    ranges = [text for text in rest if _DOTS.search(text)]
    if ranges:
        key, _, value = ranges[0].partition("=")
        start, end = value.split("..")
        raise UserError(f"{ranges[0]!r} is no range: write '{key}=range({start},{int(end) + 1})', with -m")
    while rest:
        text = rest.pop(0)
        if not text.startswith("-"):
            overrides.append(text)
            continue
        name, equals, value = text.partition("=")
        if name not in _SWITCHES | _WITH_VALUE:
            raise UserError(f"there is no option {name!r}; {nearest(name, _SWITCHES | _WITH_VALUE)}")
        if equals:
            flags.append((name, value))
        elif name in _WITH_VALUE or (name in ("--info", "-i") and rest and rest[0] in _INFO):
            if not rest:
                raise UserError(f"option {name!r} needs a value after it; python train.py --hydra-help lists them")
            flags.append((name, rest.pop(0)))
        else:
            flags.append((name, None))
    _check_flags(flags)
    return flags, overrides


def _check_flags(flags: Flags) -> None:
    """Refuse options that exclude each other; of several runs the configuration of the first can be shown."""
    for name, value in flags:
        if name in ("--cfg", "-c") and value not in _SHOWN:
            raise UserError(f"{name} shows {', '.join(sorted(_SHOWN))}, not {value!r}")
    commands = dict.fromkeys(command for name, _ in flags if (command := _COMMANDS.get(name)) is not None)
    if len(commands) > 1 and set(commands) != {"--multirun", "--cfg"}:
        raise UserError(f"{' and '.join(commands)} exclude each other: give one of them")


def quote(value: str) -> str:
    """Write a text so that Hydra reads it as it is, whatever signs it holds."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" if value else "''"


def plain_or_quoted(value: str) -> str:
    """Write a text for Hydra, in quotes where it holds more than the usual signs of a path."""
    return value if re.fullmatch(r"[\w./+-]+", value, re.ASCII) else quote(value)


def resumed_folder(overrides: Sequence[str]) -> Path | None:
    """Return the folder of ``resume=<folder>``, or ``None`` where nothing is to be resumed.

    Raises:
        UserError: the value is empty, as that of a shell variable that is not set.
    """
    for text in overrides:
        key, equals, value = text.partition("=")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if key == "resume" and equals and not value:
            raise UserError(f"{text!r} names no folder: give that of the run to go on with, resume=<folder>")
        if key == "resume" and value != "null":
            return Path(value).expanduser()
    return None


def config_dirs(given: Sequence[str]) -> list[str]:
    """List the folders of choices (``--config-dir``) on a command line, or on the one that a shell completes."""
    flags, _ = split(given)
    completing = os.environ.get("COMP_LINE", "") if {name for name, _ in flags} & _COMPLETION else ""
    words = completing.split()
    typed = [after for word, after in itertools.pairwise(words) if word in CONFIG_DIR and Path(after).is_dir()]
    return [*(value or "" for name, value in flags if name in CONFIG_DIR), *typed]


def nearby(folder: Path) -> str:
    """Name what lies beside a folder that does not exist, as the end of a sentence."""
    with contextlib.suppress(OSError):
        beside = {str(other): other.name for other in folder.parent.iterdir() if other.is_dir()}
        close = get_close_matches(folder.name, beside.values(), n=2)
        if close:
            return "; did you mean " + " or ".join(repr(str(folder.parent / name)) for name in close) + "?"
    return ""


def check(overrides: Sequence[str], flags: Flags) -> Checked:
    """Compose the configuration once for every choice on the command line.

    Args:
        overrides: ``key=value`` texts.
        flags: options, as :func:`split` returns them.

    Returns:
        Whether there are several runs, and where they will write.

    Raises:
        UserError: something is wrong; every wrong override is named.
    """
    import hydra

    from tl_lab.config.natural import install

    install()
    parsed = _parse(overrides)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        groups = _groups()
        # what Hydra would explain badly, or, a list for a group of one choice, take without a word
        doubtful = [one for one in parsed if one.is_delete() or one.value() is None or isinstance(one.value(), list)]
        if mistakes := [text for override in doubtful if (text := _wrong_choice(override, groups))]:
            raise UserError(_join(mistakes))
        variations = list(_variations(parsed, groups))
        configs = [_compose(texts, groups) for texts in variations]
        of_jobs = _of_jobs(parsed, groups)
    first = configs[0]
    mode = OmegaConf.select(first, "hydra.mode")
    multirun = any(name in MULTIRUN for name, _ in flags) or getattr(mode, "name", mode) == "MULTIRUN"
    if not multirun:
        for override in parsed:
            if override.is_sweep_override():
                key, _, value = str(override.input_line).partition("=")
                raise UserError(
                    f"{override.input_line!r} names several values; add -m to run one after another, "
                    f"or write '{key}=[{value}]' for a list"
                )
    _check_removals(parsed)
    objective = str(OmegaConf.select(first, "sweep.objective"))
    if objective.startswith(("test/", "oracle/")):
        raise UserError(f"sweep.objective={objective} is a test metric: test data choose nothing; use val/...")
    name = _folder(first, "name")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise UserError(f"name={name} is no name of a folder below the outputs: leave '.', '..' and empty parts out")
    where = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    if not (folder := _folder(first, where)):
        raise UserError(f"{where}= names no folder: leave it out to get a new one")
    at_once = OmegaConf.select(first, "hydra.launcher.jobs")
    if at_once is not None and (not isinstance(at_once, int) or at_once < 1):
        raise UserError(f"hydra.launcher.jobs is a whole number of at least 1, not {at_once!r}")
    limit = OmegaConf.select(first, "hydra.launcher.timeout")
    if limit is not None and (type(limit) not in (int, float) or not 0 < limit < math.inf):
        raise UserError(f"hydra.launcher.timeout is null or a number of seconds above 0, not {limit!r}")
    launcher, sweeper = (str(OmegaConf.select(first, f"hydra.{name}._target_")) for name in ("launcher", "sweeper"))
    resumes = bool(OmegaConf.select(first, "sweep.resume"))
    return Checked(multirun, folder, launcher, sweeper, resumes, tuple(variations[0]), of_jobs)


def _of_jobs(parsed: Sequence[Any], groups: dict[str, set[str]]) -> frozenset[str]:
    """Find overrides of options that the swept choices have, and those that a sweep begins with do not."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    chosen = [one for one in parsed if one.key_or_group in groups]
    if not any(one.is_sweep_override() for one in chosen):
        return frozenset()
    texts = [str(one.input_line) for one in chosen]
    base = GlobalHydra.instance().config_loader().load_configuration("config", texts, RunMode.MULTIRUN)
    values = [one for one in parsed if one.key_or_group not in groups and not (one.is_add() or one.is_delete())]
    fixed = [one for one in values if not (one.is_force_add() or one.is_sweep_override())]
    return frozenset(str(one.input_line) for one in fixed if _wrong_key(one.key_or_group, base, groups))


def _check_removals(parsed: Sequence[Any]) -> None:
    """Refuse to remove what every run reads.

    Raises:
        UserError: naming what stands for removing it.
    """
    for override in parsed:
        key = override.key_or_group
        parents = {path.rpartition(".")[0] for path in PLAIN}
        if override.is_delete() and (key in NEEDED or key in parents or key in PLAIN):
            raise UserError(
                f"{override.input_line!r} removes what every run reads: set {key} instead, or leave this out"
            )


def _parse(overrides: Sequence[str]) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        if found := _RANGE.fullmatch(text):
            key, first, last = found.groups()
            raise UserError(f"{text!r}: write a range as {key}=range({first},{int(last) + 1}), with -m")
        if "=" not in text and not text.startswith("~"):
            fitting = [group for group, names in choices().items() if text in names]
            hint = " or ".join(f"{group}={text}" for group in fitting) or "key=value"
            raise UserError(f"{text!r} sets nothing; write {hint}")
        try:
            parsed += parser.parse_overrides([text])
        except (HydraException, ValueError):
            key, _, value = text.partition("=")
            raise UserError(
                f"{text!r} cannot be read; a value with blanks or signs needs two pairs of quotes: '{key}=\"{value}\"'"
            ) from None
    return parsed


def _groups() -> dict[str, set[str]]:
    """Choices of each group, Hydra's own (``hydra/launcher``) included."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    # asked directly: for each question to the loader itself, Hydra copies all that is registered
    repository = cast(ConfigLoaderImpl, GlobalHydra.instance().config_loader()).repository
    found = {"experiment": set(), "search": set(), **{group: set(files) for group, files in choices().items()}}
    for group in repository.get_group_options("hydra", ObjectType.GROUP):
        found.setdefault(f"hydra/{group}", set()).update(repository.get_group_options(f"hydra/{group}"))
    return found


def _variations(parsed: Sequence[Any], groups: dict[str, set[str]]) -> Iterator[list[str]]:
    """Command lines of single runs that name every choice at least once: a swept group is tried one by one."""
    values = [_values(override, groups) for override in parsed]
    first = [texts[0] for texts in values]
    yield first
    for position, (override, texts) in enumerate(zip(parsed, values, strict=True)):
        if override.key_or_group in groups:
            for text in texts[1:]:
                yield [*first[:position], text, *first[position + 1 :]]


def _values(override: Any, groups: dict[str, set[str]]) -> list[str]:
    """Each value of an override as an override of its own."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    value = override.value()
    if override.is_interval_sweep():
        return [f"{key}={value.start}"]
    if hasattr(value, "filter"):  # glob(...)
        names = value.filter(sorted(groups.get(override.key_or_group, ())))
        if not names:
            raise UserError(f"{override.input_line!r} fits no choice")
        return [f"{key}={name}" for name in names]
    texts = [f"{key}={text}" for text in override.sweep_string_iterator()]
    if not texts:
        raise UserError(f"{override.input_line!r} holds no value")
    return texts


def _compose(texts: list[str], groups: dict[str, set[str]]) -> DictConfig:
    import hydra
    from hydra.errors import HydraException

    try:
        config = hydra.compose("config", overrides=texts, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        mistakes = _mistakes(_parse(texts), groups)
        lines = [line for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise UserError(_join(mistakes) or ". ".join(line.strip() for line in lines[:2])) from error
    return config


def _join(mistakes: list[str]) -> str:
    if len(mistakes) < 2:
        return "".join(mistakes)
    return f"{len(mistakes)} mistakes: " + " ".join(f"({n}) {text}" for n, text in enumerate(mistakes, 1))


def _mistakes(parsed: Sequence[Any], groups: dict[str, set[str]]) -> list[str]:
    """Say what is wrong with each override of a command line that does not compose."""
    import hydra

    found: list[str] = []
    usable: list[str] = []
    for override in parsed:
        text = _wrong_choice(override, groups)
        if text:
            found.append(text)
        elif override.key_or_group in groups:
            usable.append(str(override.input_line))
    try:
        base = hydra.compose("config", overrides=usable, return_hydra_config=True)
    except Exception:  # the files themselves do not compose: the first error says why
        return found
    for override in parsed:
        key = override.key_or_group
        if key in groups or override.is_force_add():
            continue
        text = _wrong_key(key, base, groups)
        if override.is_add():
            text = "" if text else f"'{override.input_line}': {key} exists already; leave the + out"
        if text:
            found.append(text)
    return found


def _wrong_choice(override: Any, groups: dict[str, set[str]]) -> str:
    group, value = override.key_or_group, override.value()
    if group not in groups:
        return ""
    given, valid = str(override.input_line), ", ".join(sorted(groups[group]))
    if value is None and not override.is_delete() and group in _OPTIONAL:
        return f"{given!r} means the same as leaving it out, which is how to write it"
    if (override.is_delete() or value in (None, "")) and group not in _OPTIONAL and "/" not in group:
        if group in _LISTS:
            return f"{given!r} is not how to choose none: write {group}=[]; valid: {valid}"
        return f"{given!r} leaves the run without its {group}; valid: {valid}"
    if isinstance(value, list):
        if group not in _LISTS:
            return f"{given!r}: one {group} is chosen, not a list of them; valid: {valid}"
        wrong = [str(name) for name in value if str(name) not in groups[group]]
        return f"{given!r}: {wrong[0]!r} is not among the choices; {nearest(wrong[0], groups[group])}" if wrong else ""
    if group in _LISTS and value in groups[group]:
        return ""
    if not isinstance(value, str) or value in groups[group]:
        return f"{given!r}: {group} has a choice already; leave the + out" if override.is_add() else ""
    if not groups[group]:
        return f"{given!r} is not among the choices: there is no file for this group"
    if not value:
        return f"{given!r} names no choice; valid: {valid}"
    return f"{given!r} is not among the choices; {nearest(value, groups[group])}"


def _wrong_key(key: str, base: DictConfig, groups: dict[str, set[str]]) -> str:
    node: Any = base
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return f"{key!r} cannot be set: {'.'.join(parts[:depth])} is a value, without keys of its own"
        if part not in node:
            where = ".".join(parts[:depth])
            names = [str(name) for name in node if not str(name).startswith("_")]
            if not where:
                names = [*(name for name in names if name != "hydra"), *groups]
                names = [name for name in names if "/" not in name]
            if (key_given := f"{where}.{part}") in ELSEWHERE:
                return f"{key_given} is not set there: {ELSEWHERE[key_given]}"
            said = f"{where} has no key {part!r}" if where else f"there is no key or group {part!r}"
            add = f" (to add a new key, write +{key}=...)" if where else ""
            return f"{said}; {nearest(part, names)}{add}"
        if OmegaConf.is_interpolation(node, part) and depth + 1 < len(parts):
            reference = OmegaConf.to_container(node, resolve=False)[part]  # type: ignore[index, call-overload]
            return f"{key!r} cannot be set: {'.'.join(parts[: depth + 1])} is {reference}; set it there"
        try:
            node = OmegaConf.select(base, ".".join(parts[: depth + 1]), throw_on_missing=False)
        except OmegaConfBaseException:  # a value that refers to what only a run knows: the key itself is right
            node = None
    return ""


def _folder(config: DictConfig, key: str) -> str:
    """Resolve where the program is about to write, as Hydra will."""
    from hydra.core.hydra_config import HydraConfig

    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return str(OmegaConf.select(config, key))
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    finally:
        HydraConfig.instance().cfg = before
