"""Choices of Hydra's own groups that come from Hydra and its installed plugins, not from a file of this project."""

from collections.abc import Collection

__all__ = ["choices_of_hydra"]


def choices_of_hydra(groups: Collection[str]) -> dict[str, list[str]]:
    """List the launchers and sweepers that Hydra and its installed plugins add to groups of this project.

    Args:
        groups: names of groups; only those of Hydra, such as ``hydra/launcher``, have such choices.

    Returns:
        The names of these choices for each of Hydra's groups.
    """
    own = [group for group in groups if group.startswith("hydra/")]
    if not own:
        return {}
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # imports the plugins, which register their choices
    repository = ConfigStore.instance().repo["hydra"]
    found = {}
    for group in own:
        entries = repository.get(group.removeprefix("hydra/"), {})
        found[group] = sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml"))
    return found
