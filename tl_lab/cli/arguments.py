"""Checks of the command line before anything runs; error messages suggest the nearest valid names."""

import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tl_lab import commands
from tl_lab.config import choices, conf_dir
from tl_lab.config.declared import COLUMN_OPTIONS, ELSEWHERE, NEEDED, PLAIN
from tl_lab.errors import MANY, UserError, nearest
from tl_lab.texts import listed

__all__ = [
    "CONFIG_DIR",
    "HELP",
    "MULTIRUN",
    "PRINTING",
    "SHOWING",
    "UNCHECKED",
    "Checked",
    "check",
    "config_dirs",
    "plain_or_quoted",
    "quote",
    "resumed_folder",
    "split",
]

Flags = list[tuple[str, str | None]]

CONFIG_DIR = frozenset({"--config-dir", "-cd"})
HELP = frozenset({"--help", "-h"})
# options that print the configuration, which must compose
SHOWING = frozenset({"--cfg", "-c"})
# options that do not run anything, or that replace the checked configuration
UNCHECKED = frozenset(
    {"--hydra-help", "--version", "--shell-completion", "-sc", "--info", "-i", "--experimental-rerun"}
    | {"--config-path", "-cp", "--config-name", "-cn"}
)
# options that print something and end the program
PRINTING = SHOWING | HELP | {"--hydra-help", "--version", "--shell-completion", "-sc", "--info", "-i"}
_COMPLETION = frozenset({"--shell-completion", "-sc"})
# groups that take several choices: group=[a,b], or +group=c in addition to the defaults
_LISTS = frozenset({"logger", "validator"})
_OPTIONAL = frozenset({"assess", "experiment", "search"})  # groups without a required choice
_RANGE = re.compile(r"([^=]+)=(\d+)\.\.\.?(\d+)")
MULTIRUN = frozenset({"--multirun", "-m"})
_WITH_VALUE = frozenset(
    {"--cfg", "-c", "--package", "-p", "--experimental-rerun"}
    | {"--config-path", "-cp", "--config-name", "-cn"}
    | CONFIG_DIR
)
_SWITCHES = UNCHECKED | SHOWING | HELP | MULTIRUN | {"--resolve", "--run", "-r"}
_SHOWN = frozenset({"job", "hydra", "all"})
# at most one of these is given
_ALONE = (("--run", "-r"), ("--multirun", "-m"), ("--cfg", "-c"), ("--info", "-i"), ("--shell-completion", "-sc"))
_COMMANDS = {name: names[0] for names in _ALONE for name in names}
_DOTS = re.compile(r"^[\w.]+=\d+\.\.\d+$")
_INFO = frozenset({"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"})


@dataclass(frozen=True)
class Checked:
    """Interpretation of a correct command line.

    Attributes:
        multirun: whether several runs were requested.
        folder: output folder of the run or the sweep.
        launcher: class that starts the jobs of a sweep.
        sweeper: class that determines the jobs of a sweep.
        resumes: whether the sweep is resumed with its missing or failed jobs.
        first: overrides of the first of several runs.
        of_jobs: given overrides whose keys exist only in the configurations of jobs.
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
        Options with their values (``None`` for flags), and overrides (``key=value``).

    Raises:
        UserError: an option is unknown or lacks its value.
    """
    flags: Flags = []
    overrides: list[str] = []
    rest = list(given)
    ranges = [text for text in rest if _DOTS.search(text)]
    if ranges:
        key, _, value = ranges[0].partition("=")
        start, end = value.split("..")
        raise UserError(f"{ranges[0]!r} is not a range: write '{key}=range({start},{int(end) + 1})', with -m")
    while rest:
        text = rest.pop(0)
        if not text.startswith("-"):
            overrides.append(text)
            continue
        name, equals, value = text.partition("=")
        if name not in _SWITCHES | _WITH_VALUE:
            if (group := name.lstrip("-")) in choices():
                choice = value if equals else rest[0] if rest and not rest[0].startswith("-") else "<choice>"
                raise UserError(f"there is no option {name!r}; write {group}={choice}")
            raise UserError(f"there is no option {name!r}; {nearest(name, _SWITCHES | _WITH_VALUE)}")
        if equals:
            flags.append((name, value))
        elif name in _WITH_VALUE or (name in ("--info", "-i") and rest and rest[0] in _INFO):
            if not rest:
                raise UserError(
                    f"option {name!r} must be followed by a value; {commands.train('--hydra-help')} lists them"
                )
            flags.append((name, rest.pop(0)))
        else:
            flags.append((name, None))
    _check_flags(flags)
    return flags, overrides


def _check_flags(flags: Flags) -> None:
    """Check that no options exclude each other; ``--cfg`` with ``--multirun`` shows the first run's configuration."""
    for name, value in flags:
        if name in ("--cfg", "-c") and value not in _SHOWN:
            raise UserError(f"{name} must be followed by {' or '.join(sorted(_SHOWN))}, not {value!r}")
    commands = dict.fromkeys(command for name, _ in flags if (command := _COMMANDS.get(name)) is not None)
    if len(commands) > 1 and set(commands) != {"--multirun", "--cfg"}:
        raise UserError(f"{' and '.join(commands)} exclude each other: give only one of them")


def quote(value: str) -> str:
    """Quote a text so that Hydra reads it literally and OmegaConf does not resolve references in it.

    A backslash is an escape only before a quote or ``${``; all others are literal.

    Examples:
        >>> print(quote("it's"), quote(r"a\\b"), quote("${oc.env:HOME}"))
        'it\\'s' 'a\\b' '\\${oc.env:HOME}'
    """
    literal = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    literal = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), literal)
    return f"'{literal}'"


def plain_or_quoted(value: str) -> str:
    """Quote a text for Hydra if it contains characters that are unusual in paths."""
    return value if re.fullmatch(r"[\w./+-]+", value, re.ASCII) else quote(value)


def resumed_folder(overrides: Sequence[str]) -> Path | None:
    """Return the folder of ``resume=<folder>``, or ``None`` without it.

    Raises:
        UserError: the value is empty, for example an unset shell variable.
    """
    for text in overrides:
        key, equals, value = text.partition("=")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if key == "resume" and equals and not value:
            raise UserError(f"{text!r} does not name a folder: give that of the run to resume, resume=<folder>")
        if key == "resume" and value != "null":
            return Path(value).expanduser()
    return None


def config_dirs(given: Sequence[str]) -> list[str]:
    """List the folders of choices (``--config-dir``) on this command line or on one that a shell is completing."""
    flags, _ = split(given)
    completing = os.environ.get("COMP_LINE", "") if {name for name, _ in flags} & _COMPLETION else ""
    words = completing.split()
    typed = [after for word, after in itertools.pairwise(words) if word in CONFIG_DIR and Path(after).is_dir()]
    return [*(value or "" for name, value in flags if name in CONFIG_DIR), *typed]


def check(overrides: Sequence[str], flags: Flags) -> Checked:
    """Compose the configuration once for every choice on the command line.

    Args:
        overrides: ``key=value`` texts.
        flags: options, as :func:`split` returns them.

    Returns:
        The interpretation of the command line.

    Raises:
        UserError: one or more overrides are wrong; the message names each of them.
    """
    import hydra

    from tl_lab.config.natural import install

    install()
    parsed = _parse(overrides)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        groups = _groups()
        # mistakes that Hydra explains badly or, for a list in a group that takes one choice, does not report
        doubtful = [one for one in parsed if one.is_delete() or one.value() is None or isinstance(one.value(), list)]
        if mistakes := [text for override in doubtful if (text := _wrong_choice(override, groups))]:
            raise UserError(_join(mistakes))
        variations = list(_variations(parsed, groups))
        configs = [_compose(texts, groups) for texts in variations]
        of_jobs = _of_jobs(parsed, groups)
        first = configs[0]
        mode = OmegaConf.select(first, "hydra.mode")
        multirun = any(name in MULTIRUN for name, _ in flags) or getattr(mode, "name", mode) == "MULTIRUN"
        if multirun:
            _check_swept_by_files(first, parsed, variations[0], groups)
    if not multirun:
        for override in parsed:
            if override.is_sweep_override():
                key, _, value = str(override.input_line).partition("=")
                others = [texts[0] for one in parsed if one is not override and (texts := _values(one, groups))]
                with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
                    usual = OmegaConf.select(_compose(others, groups), key, throw_on_missing=False)
                listed = usual is None or OmegaConf.is_list(usual)
                as_list = f", or write '{key}=[{value}]' for a list" if listed else ""
                raise UserError(
                    f"{override.input_line!r} has several values; add -m to run them one after another{as_list}"
                )
    _check_removals(parsed)
    _check_hydra(parsed)
    objective = str(OmegaConf.select(first, "sweep.objective"))
    if objective.startswith(("test/", "oracle/")):
        raise UserError(f"sweep.objective={objective}: test metrics cannot be used for selection; use a val/... metric")
    name = _folder(first, "name")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise UserError(f"name={name} is not a valid folder below the outputs: leave out '.', '..' and empty parts")
    where = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    if not (folder := _folder(first, where)):
        raise UserError(f"{where}= does not name a folder: leave it out to get a new one")
    at_once = OmegaConf.select(first, "hydra.launcher.jobs")
    if at_once is not None and (not isinstance(at_once, int) or at_once < 1):
        raise UserError(f"hydra.launcher.jobs must be a whole number of at least 1, not {at_once!r}")
    limit = OmegaConf.select(first, "hydra.launcher.timeout")
    if limit is not None and (type(limit) not in (int, float) or not 0 < limit < math.inf):
        raise UserError(f"hydra.launcher.timeout must be null or a number of seconds above 0, not {limit!r}")
    launcher, sweeper = (str(OmegaConf.select(first, f"hydra.{name}._target_")) for name in ("launcher", "sweeper"))
    resumes = bool(OmegaConf.select(first, "sweep.resume"))
    return Checked(multirun, folder, launcher, sweeper, resumes, tuple(variations[0]), of_jobs)


def _check_swept_by_files(
    first: DictConfig, parsed: Sequence[Any], given: Sequence[str], groups: dict[str, set[str]]
) -> None:
    """Check the values that an experiment's file sweeps, ``hydra.sweeper.params``, except those given anew.

    Those of a search space are ranges, which its sweeper reads.

    Raises:
        UserError: choices or keys do not exist; the message names each of them, and the experiment.
    """
    params, chosen = OmegaConf.select(first, "hydra.sweeper.params"), first.hydra.runtime.choices
    experiment = chosen.get("experiment")
    if not isinstance(params, DictConfig) or experiment is None or chosen.get("search") is not None:
        return
    known = {one.key_or_group for one in parsed}
    where = f"experiment={experiment}, hydra.sweeper.params"
    try:
        swept = _parse([f"{key!s}={value}" for key, value in params.items()])
        swept = [one for one in swept if one.key_or_group not in known]
        values = {one.key_or_group: _values(one, groups) for one in swept}
        texts = [text for key in values if key in groups for text in values[key]]
        if mistakes := [text for one in _parse(texts) if (text := _wrong_choice(one, groups))]:
            raise UserError(_join(mistakes))
        _compose([*(of_one[0] for of_one in values.values()), *given], groups)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _of_jobs(parsed: Sequence[Any], groups: dict[str, set[str]]) -> frozenset[str]:
    """Find overrides of options that exist only in the swept choices, not in the sweep's defaults."""
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
    """Check that no key is removed that every run reads.

    Raises:
        UserError: such a key is removed; the message names the setting to use instead.
    """
    for override in parsed:
        key = override.key_or_group
        parents = {path.rpartition(".")[0] for path in PLAIN}
        if override.is_delete() and (key in NEEDED or key in parents or key in PLAIN):
            raise UserError(
                f"{override.input_line!r} removes a key that every run requires: set {key} instead, or leave this out"
            )


def _check_hydra(parsed: Sequence[Any]) -> None:
    """Check that no key is added that Hydra does not read; keys of launchers and sweepers are checked by their classes.

    Raises:
        UserError: such a key is added; the message suggests the nearest key.
    """
    from hydra.conf import HydraConf

    for override in parsed:
        known: Any = HydraConf
        first, *parts = override.key_or_group.split(".")
        if first != "hydra" or not (override.is_add() or override.is_force_add()):
            continue
        for depth, part in enumerate(parts):
            if not is_dataclass(known):
                break
            types = {field.name: field.type for field in fields(known)}
            if part not in types:
                where = ".".join(["hydra", *parts[:depth]])
                raise UserError(f"{override.input_line!r}: {where} has no key {part!r}; {nearest(part, types)}")
            known = types[part]


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
            raise UserError(f"{text!r} does not set a value; write {hint}")
        try:
            parsed += parser.parse_overrides([text])
        except (HydraException, ValueError):
            key, equals, value = text.partition("=")
            if "/" in key and "." in key.rpartition("/")[2]:  # Hydra reads a slash only in the name of a group
                dotted = key.replace("/", ".")
                raise UserError(
                    f"{text!r} cannot be read: an option of a group is named with dots only; "
                    f"write {dotted}{equals}{value}"
                ) from None
            raise UserError(
                f"{text!r} cannot be read; a value with spaces or symbols needs two pairs of quotes: "
                f"'{key}=\"{value}\"'"
            ) from None
    return parsed


def _groups() -> dict[str, set[str]]:
    """Return the choices of each group, including Hydra's own groups (``hydra/launcher``)."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    # read from the repository, because the loader copies Hydra's whole registry at each query
    repository = cast(ConfigLoaderImpl, GlobalHydra.instance().config_loader()).repository
    found = {"experiment": set(), "search": set(), **{group: set(files) for group, files in choices().items()}}
    for group in repository.get_group_options("hydra", ObjectType.GROUP):
        found.setdefault(f"hydra/{group}", set()).update(repository.get_group_options(f"hydra/{group}"))
    return found


def _variations(parsed: Sequence[Any], groups: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield command lines of single runs that together contain every choice: values of swept groups take turns."""
    values = [_values(override, groups) for override in parsed]
    first = [texts[0] for texts in values]
    yield first
    for position, (override, texts) in enumerate(zip(parsed, values, strict=True)):
        if override.key_or_group in groups:
            for text in texts[1:]:
                yield [*first[:position], text, *first[position + 1 :]]


def _values(override: Any, groups: dict[str, set[str]]) -> list[str]:
    """Return a separate override for each value of an override."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    value = override.value()
    if override.is_interval_sweep():
        return [f"{key}={value.start}"]
    if hasattr(value, "filter"):  # glob(...)
        names = value.filter(sorted(groups.get(override.key_or_group, ())))
        if not names:
            raise UserError(f"{override.input_line!r} does not match any choice")
        return [f"{key}={name}" for name in names]
    texts = [f"{key}={text}" for text in override.sweep_string_iterator()]
    if not texts:
        raise UserError(f"{override.input_line!r} has no value")
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
    """Describe the mistakes in the overrides of a command line that does not compose."""
    import hydra

    found: list[str] = []
    usable: list[str] = []
    unknown: set[str] = set()  # groups whose options depend on a choice that is wrong
    for override in parsed:
        text = _wrong_choice(override, groups)
        if text:
            found.append(text)
            unknown.add(override.key_or_group.replace("/", "."))
        elif override.key_or_group in groups and not isinstance(override.value(), dict):
            usable.append(str(override.input_line))
    try:
        base = hydra.compose("config", overrides=usable, return_hydra_config=True)
    except Exception:  # the files themselves do not compose; the first error gives the reason
        return found
    for override in parsed:
        key = override.key_or_group
        inner = [] if override.is_add() or override.is_delete() else _keys_within(override.value())
        if override.is_force_add() or (key in groups and not inner):
            continue
        # an experiment may choose in any group
        if "." in key and ("experiment" in unknown or any(key.startswith(f"{group}.") for group in unknown)):
            continue
        if not isinstance(OmegaConf.select(base, key, throw_on_resolution_failure=False), DictConfig):
            inner = []  # a value of its own, such as strategy.label_words, not options
        wrong = (_wrong_key(".".join((key, *place)), base, groups) for place in [(), *inner])
        text = next(filter(None, wrong), "")
        if override.is_add():
            text = "" if text else f"'{override.input_line}': {key} already exists; leave out the +"
        if text:
            found.append(text)
    return found


def _wrong_choice(override: Any, groups: dict[str, set[str]]) -> str:
    group, value = override.key_or_group, override.value()
    if group not in groups:
        return ""
    given, valid = str(override.input_line), _listed_choices(group, groups[group])
    if value is None and not override.is_delete() and group in _OPTIONAL:
        return f"{given!r} has no effect: leave it out"
    if (override.is_delete() or value in (None, "")) and group not in _OPTIONAL and "/" not in group:
        if group in _LISTS:
            return f"{given!r} does not deselect all choices: write {group}=[]; valid: {valid}"
        return f"{given!r} leaves the run without its {group}; valid: {valid}"
    if isinstance(value, list):
        if group not in _LISTS:
            return f"{given!r}: {group} takes one choice, not a list; valid: {valid}"
        wrong = [str(name) for name in value if str(name) not in groups[group]]
        return (
            f"{given!r}: {wrong[0]!r} is not among the choices; {_nearest_choice(wrong[0], group, groups)}"
            if wrong
            else ""
        )
    if group in _LISTS and value in groups[group]:
        return ""
    if not isinstance(value, str) or value in groups[group]:
        return f"{given!r}: {group} already has a choice; leave out the +" if override.is_add() else ""
    if not groups[group]:
        return f"{given!r} is not among the choices: there is no file for this group"
    if not value:
        return f"{given!r} does not name a choice; valid: {valid}"
    return f"{given!r} is not among the choices; {_nearest_choice(value, group, groups)}"


def _nearest_choice(name: str, group: str, groups: dict[str, set[str]]) -> str:
    suggestion = nearest(name, groups[group])
    return f"valid: {_listed_choices(group, groups[group])}" if suggestion.startswith("valid") else suggestion


def _listed_choices(group: str, names: set[str]) -> str:
    """Join the choices of a group; of many the first ones, and the command that describes all."""
    more = f" ({commands.command('list', group)})" if len(names) > MANY else ""
    return listed(sorted(names), MANY) + more


def _keys_within(value: Any) -> list[tuple[str, ...]]:
    """Return the places of all keys of a mapping and of the mappings in it."""
    if not isinstance(value, dict):
        return []
    return [(str(key), *place) for key, inner in value.items() for place in [(), *_keys_within(inner)]]


def _wrong_key(key: str, base: DictConfig, groups: dict[str, set[str]]) -> str:
    if "/" in key and not _wrong_key(dotted := key.replace("/", "."), base, groups):
        return f"{key!r} is not a group; write the option as {dotted}=..."
    node: Any = base
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return f"{key!r} cannot be set: {'.'.join(parts[:depth])} is a value and has no keys"
        if part not in node:
            where = ".".join(parts[:depth])
            names = [str(name) for name in node if not str(name).startswith("_")]
            if not where:
                names = [*(name for name in names if name != "hydra"), *groups]
                names = [name for name in names if "/" not in name]
            if (key_given := f"{where}.{part}") in ELSEWHERE:
                return f"{key_given} is not set there: {ELSEWHERE[key_given]}"
            if key_given in COLUMN_OPTIONS:
                choices_with = ", ".join(COLUMN_OPTIONS[key_given])
                return f"{where} has no key {part!r} with this choice; it names columns of data={choices_with}"
            mistake = f"{where} has no key {part!r}" if where else f"there is no key or group {part!r}"
            add = f" (to add a new key, write +{key}=...)" if where else ""
            return f"{mistake}; {nearest(part, names)}{add}"
        if OmegaConf.is_interpolation(node, part) and depth + 1 < len(parts):
            reference = OmegaConf.to_container(node, resolve=False)[part]  # type: ignore[index, call-overload]
            return f"{key!r} cannot be set: {'.'.join(parts[: depth + 1])} is {reference}; set it there"
        try:
            node = OmegaConf.select(base, ".".join(parts[: depth + 1]), throw_on_missing=False)
        except OmegaConfBaseException:  # a reference that is resolved only in a run; the key itself is valid
            node = None
    return ""


def _folder(config: DictConfig, key: str) -> str:
    """Return a value of the composed configuration, such as the output folder, as Hydra will resolve it."""
    from hydra.core.hydra_config import HydraConfig

    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return str(OmegaConf.select(config, key))
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from error
    finally:
        HydraConfig.instance().cfg = before
