"""The choices of each group: which there are, where their files lie, what they say of themselves."""

from pathlib import Path

from tl_lab.errors import UserError, nearest

__all__ = ["choices", "conf_dir", "describe"]


def conf_dir() -> Path:
    """Find the folder of configuration files, in an installed package or in the repository beside it."""
    installed = Path(__file__).resolve().parents[1] / "conf"
    return installed if installed.is_dir() else installed.parent.parent / "conf"


def choices(group: str | None = None) -> dict[str, dict[str, Path]]:
    """List the choices of each group.

    Args:
        group: one group's name; ``None`` for all of them.

    Returns:
        For each group its choices and their files. A choice in a sub-folder is named ``folder/choice``.

    Raises:
        UserError: there is no such group.
    """
    folders = {folder.name: folder for folder in sorted(conf_dir().iterdir()) if folder.is_dir()}
    if (own := folders.pop("hydra", None)) is not None:  # its groups lie one level deeper
        folders |= {f"hydra/{folder.name}": folder for folder in sorted(own.iterdir()) if folder.is_dir()}
    folders = {name: folder for name, folder in folders.items() if any(folder.rglob("*.yaml"))}
    if group is not None and group not in folders:
        raise UserError(f"there is no group {group!r}; {nearest(group, folders)}")
    return {
        name: {
            str(file.relative_to(folder).with_suffix("")): file
            for file in sorted(folder.rglob("*.yaml"))
            if not file.name.startswith("_")  # _name.yaml holds what choices share
        }
        for name, folder in folders.items()
        if group in (None, name)
    }


def describe(file: Path) -> str:
    """Read what a choice is: the comment on the first line of its file (after a package directive), or ``""``."""
    with file.open(encoding="utf-8") as lines:
        first = next((line.strip() for line in lines if not line.startswith("# @")), "")
    return first.removeprefix("#").strip() if first.startswith("#") else ""
