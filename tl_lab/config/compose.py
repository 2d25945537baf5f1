"""Compose configurations in the same way as the command line."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.catalogue import conf_dir, using
from tl_lab.config.identity import to_plain

__all__ = ["compose"]


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """Compose a resolved configuration in the same way as the command line, for notebooks and tests.

    Args:
        overrides: overrides, such as ``["backbone=mlp", "seed=1"]``.
        config_dir: a folder of further choices, as for ``--config-dir``.

    Returns:
        The run's configuration, without Hydra's own part.

    Raises:
        UserError: the folder does not exist, or a reference names an option that does not exist.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from tl_lab.config.natural import install

    install()
    with using([config_dir]):
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            return OmegaConf.create(to_plain(config))
        finally:
            HydraConfig.instance().cfg = before
