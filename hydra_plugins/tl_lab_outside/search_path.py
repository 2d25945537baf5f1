"""Let Hydra compose from the folders of choices that lie outside the project's own ``conf/``."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class OutsideFolders(SearchPathPlugin):
    """Append the folders given by ``--config-dir`` and those of installed distributions."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append to Hydra's own search path.

        Args:
            search_path: of the composition that begins.
        """
        # here and not above: Hydra imports this file before it knows whether it composes
        from tl_lab.config.catalogue import outside_folders

        for folder in outside_folders():
            search_path.append("tl_lab", f"file://{folder}")
