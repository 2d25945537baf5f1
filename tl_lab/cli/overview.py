"""Output of ``python -m tl_lab`` without a command: examples, then the commands by purpose."""

from collections.abc import Mapping

from tl_lab import __version__, commands

__all__ = ["show"]

_GROUPS = {
    "Run": ("train", "papers", "reproduce"),
    "Use a trained model": ("predict", "test", "drift", "card", "export"),
    "Results": ("report", "figures"),
    "Look up": ("list", "assess", "weights"),
}


def show(helps: Mapping[str, str]) -> None:
    """Print the overview.

    Args:
        helps: description of each command, by its name.
    """
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from tl_lab.results.screen.console import say

    run = "outputs/runs/<name>/<time>"
    examples = {
        "one run": commands.train("data=digits"),
        "another domain": commands.train("data=printed_to_handwritten", "domain_adaptation=dann"),
        "a comparison": commands.train("-m", "seed=0,1,2", "domain_adaptation=none,dann"),
        "your own images": commands.train("data=image_folder", "data.root=my_images"),
        "label new images": f"{commands.command('predict')} {run} new_images",
        "methods and data": commands.command("list"),
    }
    shown = Table.grid(padding=(0, 2))
    shown.add_column(no_wrap=True)
    shown.add_column(style="cyan", no_wrap=True)
    for what, text in examples.items():
        shown.add_row(f"  {what}", text)
    known = [name for names in _GROUPS.values() for name in names]
    rest = [name for name in helps if name not in known]
    parts: list[RenderableType] = []
    for title, names in {**_GROUPS, **({"More": tuple(rest)} if rest else {})}.items():
        table = Table.grid(padding=(0, 2))
        table.add_column(style="cyan", no_wrap=True, min_width=11)
        table.add_column()
        for name in names:
            table.add_row(f"  {name}", helps[name])
        parts += [Text(), Text(title, "bold"), table]
    say(
        Text.assemble(("tl_lab", "bold"), (f" {__version__}   transfer learning experiments", "dim")),
        Text(),
        Text("Examples", "bold"),
        shown,
        *parts,
        Text(),
        Text(
            f"Options of a command: {commands.command('predict', '--help')}; of a run: {commands.train('--help')}",
            "dim",
        ),
    )
