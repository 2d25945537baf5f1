"""Print the output of a run: a banner at the start, and tables at the end.

On a terminal, the output is in colour; in a log file, it is plain text of at most 100 columns, or of ``COLUMNS`` if
that variable is set. Words, such as paths, are never broken: a longer one is on a line of its own.
This module does not import torch.
"""

import io
import math
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from tl_lab.results.folder.selection import reached
from tl_lab.results.kinds import kinds
from tl_lab.results.names import (
    answerer,
    format_change,
    format_difference,
    format_metric,
    is_score,
    is_share,
    leading_metric,
    named_by_unit,
    readable,
    split_name,
)
from tl_lab.results.tables.screening import ON_SCREENING, SCREENED, screened

__all__ = ["banner", "final_table", "findings", "forgetting", "health", "next_steps", "say", "selection"]

_WIDTH = 100


def banner(facts: Mapping[str, Any], title: str = "tl_lab", stream: TextIO | None = None) -> None:
    """Show the settings of a run at its start.

    Args:
        facts: value of each fact by name, in the order of display. A mapping with ``total`` and ``trainable`` is
            displayed as numbers of parameters, another mapping or a sequence as a list; None and empty values are
            omitted.
        title: text above the facts.
        stream: destination; None for standard output.
    """
    say(Text(title, style="bold"), _Facts(facts), stream=stream)


def final_table(
    metrics: Mapping[str, float | None],
    *,
    reference: Mapping[str, float] | None = None,
    seed: int | None = None,
    tested_checkpoint: str | None = None,
    protocol: Mapping[str, Any] | Sequence[str] | str = (),
    stream: TextIO | None = None,
) -> None:
    """Show a run's test results: one row per domain or task, and the notes needed to interpret them.

    Args:
        metrics: the run's metrics by name; those named ``test/...`` are shown, shares in per cent, with
            ``..._ci95`` as half-widths if they exist.
        reference: main metric of the source-only model by domain (or task), if known.
        seed: the run's seed.
        tested_checkpoint: the tested checkpoint, ``last`` or ``best``.
        protocol: facts about the protocol, by name or as phrases; ``oracle`` marks the target's row.
        stream: destination; None for standard output.
    """
    rows, others = _by_part(named_by_unit(metrics))
    measured = {metric for row in rows.values() for metric in row if not metric.endswith("_ci95")}
    columns = [metric for metric in kinds() if metric in measured and is_score(metric)]
    columns += sorted(metric for metric in measured if not is_score(metric))
    leading = leading_metric(columns)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("test set")
    if beside := any(answerer(part)[1] for part in rows):
        table.add_column("model")
    for metric in columns:
        table.add_column(_with_unit(readable(metric), metric), justify="right")
    if reference and leading:
        table.add_column(_with_unit("source-only reference", leading), justify="right")
    for part, row in rows.items():
        tested, model = answerer(part)
        cells = [model or "network"] if beside else []
        cells += [format_metric(metric, row.get(metric), row.get(f"{metric}_ci95")) for metric in columns]
        if reference and leading:
            cells.append(_against(leading, row.get(leading), reference.get(part)))
        marked = " (oracle)" if part == "target" and "oracle" in protocol else ""
        table.add_row(Text((tested or "all") + marked), *map(Text, cells), style="bold" if part == "target" else "")
    shown: list[RenderableType] = [Text(), table if rows else Text("No test metric was logged.")]
    if others:
        shown.append(
            Text(", ".join(f"{_with_unit(f'{readable(m)} {format_metric(m, v)}', m)}" for m, v in others.items()))
        )
    within = isinstance(protocol, Mapping) and "episodes" in protocol
    notes, facts = _to_be_known(seed, tested_checkpoint, protocol, within)
    shown += [Text(), *(Text(text, style="dim") for text in notes)]
    if facts:
        shown.append(_Facts(facts, "dim"))
    say(*shown, stream=stream)


def findings(rows: Sequence[Mapping[str, Any]], stream: TextIO | None = None) -> None:
    """Show the screening metrics of each finding.

    Args:
        rows: see :func:`tl_lab.training.screening.screening_rows`.
        stream: destination; None for standard output.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in SCREENED:
        table.add_column(name, justify="left" if name == SCREENED[0] else "right")
    for cells in screened(rows):
        table.add_row(*map(Text, cells))
    say(Text(), table, Text(ON_SCREENING, style="dim"), stream=stream)


def health(facts: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Show the distance between the domains, with its interpretation.

    Args:
        facts: known fields of :class:`tl_lab.watching.health.Health`, and their interpretation, ``reading``.
        stream: destination; None for standard output.
    """
    measurements = []
    for name, metric in (("a_distance", "A-distance"), ("linear_acc", "linear domain classifier %")):
        values = [format_metric(metric_of, facts.get(key)) for key, metric_of in _both_ends(name)]
        if values[1] != "-":
            measurements.append(f"{metric} {' -> '.join(value for value in values if value != '-')}")
    if facts.get("discriminator_acc") is not None:
        measurements.append(f"discriminator % {format_metric('discriminator_acc', facts['discriminator_acc'])}")
    if facts.get("lambda_end") is not None:
        measurements.append(f"lambda {format_metric('lambda', facts['lambda_end'])}")
    if norms := facts.get("gradient_norms"):
        pulls = ", ".join(f"{readable(name)} {norm:.3g}" for name, norm in norms.items())
        measurements.append(f"gradient at the features: {pulls}")
    reading = Text.assemble(("health: ", "bold"), (str(facts.get("reading", "")), ""))
    say(Text(), Text("; ".join(measurements), style="dim"), reading, stream=stream)


def forgetting(facts: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Show the score on an earlier task before and after the run.

    Args:
        facts: ``task``, ``metric``, and its values ``before`` and ``after``.
        stream: destination; None for standard output.
    """
    metric, before, after = str(facts["metric"]), float(facts["before"]), float(facts["after"])
    unit = " %" if is_share(metric) else ""
    change = format_difference(metric, after - before)
    values = f"{format_metric(metric, before)}{unit} before, {format_metric(metric, after)}{unit} after ({change})"
    say(Text.assemble(("forgetting: ", "bold"), f"{facts['task']}: {values}"), stream=stream)


def _both_ends(name: str) -> list[tuple[str, str]]:
    return [(f"{name}_start", name), (name, name)]


def selection(rows: Sequence[Mapping[str, Any]], stream: TextIO | None = None) -> None:
    """Show which epoch each validator would have chosen, and the target's main metric there.

    Args:
        rows: see :func:`tl_lab.results.folder.selection.selection`.
        stream: destination; None for standard output.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("epoch chosen by")
    scores = [reached(row) for row in rows]
    metric = next((score[0] for score in scores if score is not None), "")
    for name in ("epoch", "its value", _with_unit(f"target {readable(metric)}", metric)):
        table.add_column(name, justify="right")
    for row, score in zip(rows, scores, strict=True):
        value = "" if row["value"] is None or row["oracle"] else format_metric(row["metric"], row["value"])
        text = format_metric(*score) if score is not None else "-"
        table.add_row(Text(str(row["chooser"])), str(row["epoch"]), value, text, style="dim" if row["oracle"] else "")
    note = "For comparison only: target labels determine only the oracle's row; see evaluate and callbacks."
    say(Text(), table, Text(note, style="dim"), stream=stream)


def next_steps(
    folder: str | Path, hints: Sequence[tuple[str, str]] | Sequence[str] = (), stream: TextIO | None = None
) -> None:
    """Show the path of a run's files, and suggest next steps.

    Args:
        folder: the run's folder, which is never wrapped, so that it can be copied.
        hints: commands, or pairs of a description and a command.
        stream: destination; None for standard output.
    """
    lines: list[RenderableType] = [Text(), Text.assemble(("Files: ", "bold"), (str(folder), ""))]
    if hints:
        lines.append(Text("What to try next:", style="bold"))
    for hint in hints:
        what, command = ("", hint) if isinstance(hint, str) else hint
        if what:
            lines.append(Text(f"  {what}:"))
        lines.append(Text(f"    {command}" if what else f"  {command}", style="cyan"))
    say(*lines, stream=stream, unbroken=True)


def say(*parts: RenderableType, stream: TextIO | None = None, unbroken: bool = False) -> None:
    """Print rich's renderables, in colour on a terminal, and otherwise as plain text of at most 100 columns.

    The variable ``COLUMNS`` sets the width of plain text. A word that is longer than a line is not broken.

    Args:
        parts: renderables, printed one below the other.
        stream: destination; None for standard output.
        unbroken: whether lines are never wrapped (for commands and paths, which users copy).
    """
    stream = stream or sys.stdout
    terminal = stream.isatty()
    # a log in an encoding other than UTF-8 must not stop a run, so unsupported characters become "?"
    encoding = getattr(stream, "encoding", None) or "utf-8"
    utf8 = encoding.lower().replace("-", "").startswith("utf")
    text = io.StringIO()
    console = Console(
        file=text,
        force_terminal=terminal,
        no_color=None if terminal else True,
        width=None if terminal else _width_of_logs(),
        highlight=False,
        markup=False,
        emoji=False,
        safe_box=True,
        legacy_windows=False if not terminal else None,
    )
    if terminal:
        console.width = min(Console(file=stream).width, _WIDTH)
    for part in (Text(one) if isinstance(one, str) else one for one in parts):
        if isinstance(part, Table) and not utf8:
            part.box = box.ASCII2
        if isinstance(part, Text) and not unbroken:
            part = Text("\n").join(_wrapped(part, console.width))
        console.print(part, soft_wrap=unbroken or isinstance(part, Text), crop=False)
    out = "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
    if not utf8:
        out = out.replace("±", "+-").replace("²", "2").encode(encoding, "replace").decode(encoding)
    stream.write(out)
    stream.flush()


def _wrapped(text: Text, width: int) -> Iterator[Text]:
    """Yield the lines of a text, broken between words only: rich would also break a word that is longer than a line."""
    for line in text.split("\n", allow_blank=True):
        breaks, start, place = [], 0, 0
        for word in re.findall(r"\s*\S+\s*", line.plain):
            if place > start and cell_len(line.plain[start:place] + word.rstrip()) > width:
                breaks.append(place)
                start = place
            place += len(word)
        for piece in line.divide(breaks):
            piece.rstrip()
            yield piece


def _width_of_logs() -> int:
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else _WIDTH


class _Facts:
    """Facts that are not empty, each in a line with its name; long values continue below their beginning.

    Values are broken between words only, and paths never.
    """

    def __init__(self, facts: Mapping[str, Any], style: str = "") -> None:
        self.rows = {
            str(name).replace("_", " "): (_fact(value), isinstance(value, Path)) for name, value in facts.items()
        }
        self.rows = {name: row for name, row in self.rows.items() if row[0]}
        self.style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Lay out the lines for the console's width."""
        names = max(map(len, self.rows), default=0)
        room = max(20, options.max_width - names - 4)
        for name, (value, whole) in self.rows.items():
            lines = [value] if whole else textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
            for number, line in enumerate(lines):
                label = "" if number else name
                yield Text.assemble(
                    (f"  {label:{names}}  ", "cyan"), (line, self.style), no_wrap=True, overflow="ignore"
                )


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if value.keys() >= {"total", "trainable"}:
            return _parameters(int(value["total"]), int(value["trainable"]))
        return ", ".join(f"{key} {_fact(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_fact, value))
    return "" if value is None else str(value)


def _parameters(total: int, trainable: int) -> str:
    if trainable == total:
        return f"{total:,}, all trainable"
    share = f" ({trainable / total:.1%})" if total else ""
    return f"{total:,}, of which {trainable:,}{share} trainable"


def _by_part(metrics: Mapping[str, float | None]) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Sort the test metrics into rows, one per domain or task (``""`` if there is none), and the others.

    The others are summaries such as ``test/bwt`` and a mean over tasks of different metrics; losses are omitted.
    """
    rows: dict[str, dict[str, float]] = {}
    others: dict[str, float] = {}
    for name, value in metrics.items():
        split, part, metric = split_name(name)
        if split != "test" or metric == "loss" or value is None or not math.isfinite(value):
            continue
        if part or is_score(metric.removesuffix("_ci95")):
            rows.setdefault(part, {})[metric] = float(value)
        else:
            others[metric] = float(value)
    of_parts = {metric for part, row in rows.items() if part for metric in row}
    if of_parts and of_parts.isdisjoint(rows.get("", {})):  # it would be the only value of its row and of its column
        others = rows.pop("", {}) | others
    return rows, others


def _with_unit(words: str, metric: str) -> str:
    return words + (" %" if is_share(metric) else "")


def _against(metric: str, value: float | None, reference: float | None) -> str:
    if reference is None or not math.isfinite(reference):
        return "-"
    text = format_metric(metric, reference)
    return text if value is None else f"{text} (here {format_change(metric, value - reference)})"


def _checkpoint_in_words(checkpoint: str) -> str:
    """Describe a tested checkpoint: ``best on validation (after 9 updates)`` is the one with the best score there."""
    kind, bracket, rest = checkpoint.partition(" (")
    words = {
        "best on validation": "checkpoint with the best validation score",
        "untrained": "untrained weights",
    }
    return f"{words.get(kind, f'{kind} checkpoint')}{bracket}{rest}"


def _to_be_known(
    seed: int | None, checkpoint: str | None, protocol: Mapping[str, Any] | Sequence[str] | str, within: bool = False
) -> tuple[list[str], dict[str, Any]]:
    """Return the notes below a table of scores: sentences, and facts by name."""
    text = []
    if seed is not None:
        interval = "± is over its test episodes, not over seeds" if within else "no interval"
        text.append(f"One run, seed {seed}: {interval}; repeat with other seeds before comparing.")
    facts: dict[str, Any] = {"tested": _checkpoint_in_words(checkpoint)} if checkpoint else {}
    if isinstance(protocol, Mapping):
        return text, facts | dict(protocol)
    phrases = [protocol] if isinstance(protocol, str) else protocol
    return [*text, *(f"{phrase.rstrip('. ')}." for phrase in phrases if phrase)], facts
