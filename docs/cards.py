"""Pages of the documentation site that are generated when it is built: a card for each method, changelog, security.

``mkdocs.yml`` names this file as a hook. Nothing that it makes is stored in the repository.
"""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tl_lab.config import choices, describe
from tl_lab.config.instantiate import locate
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
_ROLE = re.compile(r":(class|func|meth|mod|attr|data|exc):<code>(~?)([\w.]+)</code>")  # Sphinx's, in docstrings
_NAME = re.compile(r"(?<=<td><code>)[^<]+(?=</code></td>)")  # a cell that contains only a name
COPIED = {"changelog.md": "CHANGELOG.md", "security.md": "SECURITY.md"}
DETAILS = {  # pages with a table of details that change numbers
    "strategy": ("continual_learning", "few_shot"),
    "domain_adaptation": ("domain_adaptation",),
}
_DETAIL = re.compile(r"^\| (?P<names>`[^|]*`) \| (?P<said>.*) \|$")
_ON_THE_SITE = "one page per method"  # pages name what only the site has in these words, which become a link there
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")  # a link to a file of the repository that is no page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages (an event of MkDocs)."""
    stored = [paper for paper in papers() if paper.runs is not None]
    generated = "Each page is generated from the docstring, the configuration file and stored results."
    index = ["# Methods", "", generated, ""]
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


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Turn links to files outside ``docs/`` into their names, and to copied files into their pages.

    The repository does not contain the pages of methods. Pages therefore only mention them, and become links here.
    """
    pages = {source: place for place, source in COPIED.items()}

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        return f"[{text}]({pages[target]})" if target in pages else text

    written = page.file.generated_by is None  # and not a card
    linked = markdown.replace(_ON_THE_SITE, f"[{_ON_THE_SITE}](methods/index.md)") if written else markdown
    return _OUTSIDE.sub(link, linked)


def on_page_content(html: str, **_: Any) -> str:
    """Turn Sphinx roles in docstrings into links, and let long names in tables be broken (an event of MkDocs).

    A role becomes plain code if the site does not describe its object.
    """

    def link(found: re.Match[str]) -> str:
        role, short, name = found.groups()
        shown = (name.rpartition(".")[2] if short else name) + ("()" if role in ("func", "meth") else "")
        return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'

    def breakable(found: re.Match[str]) -> str:
        return re.sub(r"(?<=\w)[/_.](?=\w)", r"\g<0><wbr>", found[0])

    return _NAME.sub(breakable, _ROLE.sub(link, html))


def card(group: str, name: str, file: Path, stored: list[Paper], shown: set[str]) -> str:
    """Write the page of one choice: what it is, how to use it, its options, its stored results, its class.

    Args:
        group: ``strategy``.
        name: ``ewc``.
        file: its YAML file.
        stored: the experiments with stored runs.
        shown: classes that earlier cards describe; this one's is added.
    """
    above = "../" * (2 + name.count("/"))
    used = f"{group}=[{name}]" if group == "validator" else f"{group}={name}"
    if group == "adapter":
        used = f"strategy=fine_tuning backbone=hf_text data=sst2 {used}"
    lines = file.read_text(encoding="utf-8").rstrip().splitlines()
    parts = [f"# {name}", "", describe(file), "", "## How to use it", "", f"    python train.py {used}", ""]
    if natural := [line.removeprefix("# @natural ") for line in lines if line.startswith("# @natural ")]:
        others = ", ".join(f"`{text}`" for text in natural[0].split(",") if not text.startswith("where="))
        parts += [f"Unless you choose otherwise, it is combined with {others}.", ""]
    parts += ["## Options", "", f"`conf/{group}/{name}.yaml`:", "", "```yaml"]
    parts += [*(line for line in lines if not line.startswith("# @")), "```", ""]
    shares = any(line.startswith("  - _") and line.strip() != "- _self_" for line in lines)
    effect = "also prints the options of the shared files that it includes" if shares else "prints the same options"
    parts += [f"`python -m tl_lab list {group} {name}` {effect}.", ""]
    parts += suggested(group, name, above) + details(group, name, above)
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
            f"See [Reproductions]({above}reproductions.md) for protocols and commands.",
            "",
        ]
    target = str(read_node(file).get("_target_"))
    if target.startswith("tl_lab."):
        described = (
            [f"[`{target}`][{target}]"]
            if target in shown
            else [f"::: {target}", "    options:", "      heading_level: 3"]
        )
        parts += ["## Class and paper", "", *own_defaults(target, file), *described, ""]
        shown.add(target)
    return "\n".join(parts)


def own_defaults(target: str, file: Path) -> list[str]:
    """State which defaults in the signature of a class differ from the values in the file of a choice."""
    node = yaml.safe_load(file.read_text(encoding="utf-8"))
    parameters = inspect.signature(locate(target)).parameters
    differing = [
        f"`{key}={parameters[key].default!r}`"
        for key, value in node.items()
        if key in parameters and parameters[key].default is not inspect.Parameter.empty
        if _plain(parameters[key].default) != _plain(value) and not _is_computed(value)
    ]
    if not differing:
        return []
    return [
        "Runs take their defaults from the file above. The defaults in the class's signature apply only if the class "
        f"is built in Python without this file; they differ in {', '.join(differing)}.",
        "",
    ]


def _plain(value: Any) -> Any:
    return [*map(_plain, value)] if isinstance(value, tuple | list) else value


def _is_computed(value: Any) -> bool:
    """Whether a value depends on other options, or has options of its own."""
    return isinstance(value, Mapping) or (isinstance(value, str) and "${" in value)


def suggested(group: str, name: str, above: str) -> list[str]:
    """Give the section with the ranges that a search tries for a choice, if there are any."""
    file = choices("search")["search"].get(f"{group}/{name}")
    if file is None:
        return []
    space = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("# @")]
    return [
        "## Suggested values",
        "",
        "The defaults above are a starting point. "
        f"[A search with equal budgets]({above}sweeps.md#choose-settings-with-equal-budgets) tries these ranges:",
        "",
        "```yaml",
        *space,
        "```",
        "",
    ]


def details(group: str, name: str, above: str) -> list[str]:
    """Give the section on details that change a method's numbers, from the tables of the topic pages."""
    for page in DETAILS.get(group, ()):
        lines = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").splitlines()
        rows = [row for line in lines if (row := _DETAIL.match(line)) and f"`{name}`" in row["names"].split(", ")]
        if rows:
            texts = [row["said"].replace("\\|", "|") for row in rows]
            link = f"[Details that change numbers]({above}{page}.md#details-that-change-numbers)"
            listed = [f"- {text[:1].upper()}{text[1:]}." for text in texts]
            return ["## What changes its numbers", "", *listed, "", f"See {link}.", ""]
    return []


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
