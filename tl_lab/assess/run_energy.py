"""Electricity of a run while it trains and tests, for its ``results.json``."""

import contextlib
import importlib.util
from typing import Annotated, Any

import pytorch_lightning as pl
from annotated_types import Len
from pytorch_lightning.callbacks import Callback

from tl_lab.assess.footprint import FootprintMeter, emissions
from tl_lab.errors import UserError

__all__ = ["MeasureEnergy"]


class MeasureEnergy(Callback):
    """Record ``energy`` (``kwh``, ``kg`` of CO2e, ``source``) from the start of training to the end of the test.

    In a configuration: ``callbacks=energy``. Without codecarbon, the electricity of runs on the CPU is estimated from
    processor time. Nothing is recorded of a resumed run, whose first part is not known, nor of an accelerator that
    nothing measures. With several processes, the first one measures its own machine.

    Args:
        country: ISO code of three letters for the carbon intensity of electricity.

    Raises:
        UserError: the country is not known without codecarbon.
    """

    def __init__(self, country: Annotated[str, Len(3, 3)] = "USA") -> None:
        if importlib.util.find_spec("codecarbon") is None:
            emissions(0.0, country)
        self.country = country
        self._meter: FootprintMeter | None = None
        self._whole = True

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Begin before the first stage; only the test of a trained run is not the whole run."""
        if self._meter is None:
            self._whole = trainer.ckpt_path is None and not (stage == "test" and pl_module.trains)
            self._meter = FootprintMeter(self.country)
            self._meter.start()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """End codecarbon's thread."""
        self.facts_for_results(trainer)

    def facts_for_results(self, trainer: pl.Trainer) -> dict[str, Any]:
        """End, and give what is added to ``results.json``."""
        meter, self._meter = self._meter, None
        if meter is None:
            return {}
        with contextlib.suppress(UserError):  # codecarbon has failed, and it alone knows the country
            found = meter.stop()
            measured = "codecarbon" in found.source or trainer.strategy.root_device.type == "cpu"
            return {"energy": dict(vars(found))} if self._whole and measured else {}
        return {}
