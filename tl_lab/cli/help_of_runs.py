"""Output of ``python train.py --help``: examples, the groups of choices, and the options of the command line."""

from pathlib import Path

from tl_lab import commands
from tl_lab.config import choices
from tl_lab.config.knobs import group_comments

__all__ = ["show"]

_OPTIONS = {
    "-m, --multirun": "start a run for each combination of comma-separated values",
    "--cfg job": "print the configuration and exit; with --resolve, resolve references",
    "--config-dir, -cd FOLDER": "add a folder of choices; may be repeated",
    "-sc install=bash": "print a tab-completion script to be run by eval; also for fish and zsh",
    "--hydra-help": "list the options of Hydra",
}
_FIRST = ("backbone", "adapter", "strategy", "data", "domain_adaptation")
_OMITTED = ("assess",)  # not an option of a run


def show() -> None:
    """Print the page."""
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from tl_lab.results.screen.console import say

    def table(rows: dict[str, str], style: str, width: int) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style=style, no_wrap=True, min_width=width)
        grid.add_column(style="cyan" if not style else "", no_wrap=True)
        for name, text in rows.items():
            grid.add_row(f"  {name}", text)
        return grid

    known = choices()
    comments = {name: text for name, text in group_comments().items() if name in known and name not in _OMITTED}
    groups = {name: comments[name] for name in (*(one for one in _FIRST if one in comments), *comments)}
    say(
        Text.assemble((commands.train(), "bold"), ("   run one transfer learning experiment or several", "dim")),
        Text(),
        Text("Examples", "bold"),
        table(_examples(), "", 24),
        Text(),
        Text.assemble(("Groups", "bold"), (f"   group=choice; choices: {commands.command('list', 'data')}", "dim")),
        table(groups, "cyan", 26),
        Text(),
        Text.assemble(("Options", "bold"), ("   key=value sets any key that --cfg job prints, such as seed=1", "dim")),
        table(_OPTIONS, "cyan", 26),
    )


def _examples() -> dict[str, str]:
    run = str(Path("outputs") / "runs" / "<name>" / "<time>")
    return {
        "one run": commands.train("data=digits"),
        "its parts": commands.train("backbone=lenet", "domain_adaptation=dann"),
        "its options": commands.train("trainer.max_epochs=5", "optimizer.lr=0.01"),
        "a comparison": commands.train("-m", "seed=0,1,2", "domain_adaptation=none,dann"),
        "a paper's experiment": commands.train("experiment=mnist_usps"),
        "a trial of two batches": commands.train("data=digits", "debug=true"),
        "resuming a run": f"{commands.train()} resume={run}",
    }
