"""Composing a configuration as the command line would."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.catalogue import conf_dir
from tl_lab.config.identity import to_plain

__all__ = ["compose"]


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a resolved configuration as the command line would, for notebooks and tests.

    Args:
        overrides: ``["backbone=mlp", "seed=1"]``.

    Returns:
        The run's configuration, without Hydra's own part.

    Raises:
        UserError: something in it refers to what does not exist.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from tl_lab.config.natural import install

    install()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return OmegaConf.create(to_plain(config))
    finally:
        HydraConfig.instance().cfg = before
