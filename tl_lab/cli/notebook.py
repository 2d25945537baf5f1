"""Runs from Python, for example in a notebook: takes overrides, and returns results and the model."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_lab.cli.job import carry_out, user_error
from tl_lab.cli.launch import Launch, prepare
from tl_lab.config import conf_dir
from tl_lab.config.catalogue import using
from tl_lab.errors import UserError
from tl_lab.importing import import_heavy
from tl_lab.results.folder.files import read_results

if TYPE_CHECKING:
    import pandas as pd

    from tl_lab.run.inference import TrainedModel
    from tl_lab.run.support import FewShotModel

__all__ = ["Finished", "run"]


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        folder: folder of the run.
        results: the content of its ``results.json``.
        config_dir: the folder of further choices that the run used.
    """

    folder: Path
    results: dict[str, Any] = field(repr=False)
    config_dir: Path | None = field(default=None, repr=False)

    @property
    def metrics(self) -> dict[str, float]:
        """The final scores by name, for example ``test/acc``."""
        return dict(self.results["metrics"])

    @property
    def figures(self) -> dict[str, Path]:
        """The files of the drawn figures by name, for example ``learning_curves``."""
        return {path.stem: path for path in sorted((self.folder / "figures").glob("*.png"))}

    @functools.cached_property
    def history(self) -> "pd.DataFrame":
        """The log: one row per step, with the columns ``step``, ``epoch`` and metrics."""
        import pandas as pd

        return pd.read_csv(self.folder / "metrics.csv")

    @functools.cached_property
    def model(self) -> "TrainedModel | FewShotModel":
        """The tested model, on the CPU (see :func:`tl_lab.load`)."""
        model: TrainedModel | FewShotModel = import_heavy("tl_lab.run.inference").load(
            self.folder, config_dir=self.config_dir
        )
        return model


def run(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Finished:
    """Execute one run in this process, like ``python train.py <overrides>``.

    Args:
        overrides: overrides, such as ``["data=digits", "seed=1"]`` or ``["resume=<folder>"]``.
        config_dir: a folder of further choices, as for ``--config-dir``.

    Returns:
        The finished run, with its folder, results, history and model.

    Raises:
        UserError: the overrides, the data or the files contain a mistake, or several runs are requested.
    """
    if isinstance(overrides, str):
        raise UserError(f"tl_lab.run takes a list of overrides, such as [{overrides!r}]")
    if options := [text for text in overrides if text.startswith("-")]:
        raise UserError(f"tl_lab.run executes one run and takes no options ({options[0]}): use the command line")
    with using([config_dir]):
        try:
            launch = prepare(list(overrides))
        except UserError as mistake:  # a notebook would also show the cause, a traceback through Hydra
            raise mistake from None
        if launch.sweep is not None:
            raise UserError("tl_lab.run executes one run: start several on the command line, with -m")
        folder = _run_by_hydra(launch)
    return Finished(folder, read_results(folder), None if config_dir is None else Path(config_dir))


def _run_by_hydra(launch: Launch) -> Path:
    """Have Hydra compose the configuration and call the job; return the run's folder."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from tl_lab.config.natural import install

    install()
    before = HydraConfig.instance().cfg
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            engine = GlobalHydra.instance().hydra
            assert engine is not None
            # the notebook's own logging is not changed
            engine.run("config", lambda cfg: carry_out(cfg, launch), launch.argv, with_log_configuration=False)
    except Exception as error:
        if (mistake := user_error(error)) is None:
            raise
        raise mistake from None
    finally:
        HydraConfig.instance().cfg = before
    assert launch.folder is not None
    return Path(launch.folder)
