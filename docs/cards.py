"""Pages of the documentation site that are generated when it is built: a card for each method, changelog, security.

``mkdocs.yml`` names this file as a hook. Nothing that it makes is stored in the repository.
"""

import re
from pathlib import Path
from typing import Any

import pandas as pd
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tl_lab.config import choices, describe
from tl_lab.config.nodes import read_node
from tl_lab.results.names import format_metric
from tl_lab.results.tables.papers import Paper, papers

ROOT = Path(__file__).resolve().parent.parent
GROUPS = {
    "strategy": "Strategies",
    "domain_adaptation": "Domain adaptation",
    "adapter": "Adapters",
    "backbone": "Backbones",
    "data": "Data",
    "validator": "Validators",
}
COPIED = {"changelog.md": "CHANGELOG.md", "security.md": "SECURITY.md"}
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")  # a link to a file of the repository that is no page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages (an event of MkDocs)."""
    stored = [paper for paper in papers() if paper.runs is not None]
    index = ["# Methods", "", "Each page is generated from docstring, configuration file and stored results.", ""]
    shown: set[str] = set()
    for group, title in GROUPS.items():
        index += [f"## {title}", ""]
        for name, file in choices(group)[group].items():
            place = f"methods/{group}/{name}.md"
            files.append(File.generated(config, place, content=card(group, name, file, stored, shown)))
            index.append(f"- [`{name}`]({group}/{name}.md): {describe(file)}")
        index.append("")
    files.append(File.generated(config, "methods/index.md", content="\n".join(index)))
    for place, source in COPIED.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links to files outside ``docs/`` into their names, and to copied files into their pages."""
    pages = {source: place for place, source in COPIED.items()}

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        return f"[{text}]({pages[target]})" if target in pages else text

    return _OUTSIDE.sub(link, markdown)


def card(group: str, name: str, file: Path, stored: list[Paper], shown: set[str]) -> str:
    """Write the page of one choice: what it is, how to use it, its options, its stored results, its class.

    Args:
        group: ``strategy``.
        name: ``ewc``.
        file: its YAML file.
        stored: the experiments with stored runs.
        shown: classes that earlier cards describe; this one's is added.
    """
    parts = [f"# {name}", "", describe(file), "", f"    python train.py {group}={name}", "", "## Options", ""]
    parts += [f"`conf/{group}/{name}.yaml`", "", "```yaml", file.read_text(encoding="utf-8").rstrip(), "```", ""]
    if rows := results(group, name, stored):
        parts += [
            "## Stored results",
            "",
            "| experiment | task | measured | published | seeds |",
            "|---|---|---|---|---|",
        ]
        parts += [
            *rows,
            "",
            f"See [Reproductions]({'../' * (2 + name.count('/'))}reproductions.md) for protocols and commands.",
            "",
        ]
    target = str(read_node(file).get("_target_"))
    if target.startswith("tl_lab."):
        described = (
            [f"[`{target}`][{target}]"]
            if target in shown
            else [f"::: {target}", "    options:", "      heading_level: 3"]
        )
        parts += ["## Class", "", *described, ""]
        shown.add(target)
    return "\n".join(parts)


def results(group: str, name: str, stored: list[Paper]) -> list[str]:
    """Give a row of Markdown for each stored experiment and task that ran a choice."""
    rows = []
    for paper in stored:
        table, expected = paper.crossed, paper.expected
        if expected.methods != group or table is None or name not in table.methods:
            continue
        place = table.methods.index(name)
        runs: pd.DataFrame = paper.runs if paper.runs is not None else pd.DataFrame()
        seeds = runs.loc[runs[f"override.{group}"] == name, "seed"].nunique()
        measured = format_metric(
            expected.metric,
            float(table.overall[place]),
            float(table.overall_half[place]),
            table.overall_both.get(place),
        )
        published = format_metric(expected.metric, expected.mean(name, table.tasks))
        tasks = f"mean of {len(table.tasks)}" if len(table.tasks) > 1 else str(table.tasks[0] or "")
        rows.append(f"| `{paper.name}` | {tasks} | {measured} | {published} | {seeds} |")
    return rows
