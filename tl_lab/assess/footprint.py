"""Energy and emissions: measured by codecarbon where it is installed, else estimated from processor time."""

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tl_lab.errors import UserError

__all__ = ["FACTORS", "WATTS", "Footprint", "FootprintMeter", "emissions", "kwh_of_run", "shares", "source_of_run"]

FACTORS: Mapping[str, float] = {"FRA": 0.056039, "USA": 0.369473}
"""kg CO2e of a kWh of electricity by country, from codecarbon's own table."""
WATTS = 15.0
"""Of a busy core with its memory, where nothing can be measured."""
_INTERVAL_S = 1.0  # between two measurements of codecarbon
_ESTIMATED = f"estimated: processor time at {WATTS:g} W a core"
_BY_LOAD = "estimated by codecarbon from load and rated power"


@dataclass(frozen=True)
class Footprint:
    """Electricity and emissions.

    Args:
        kwh: of electricity.
        kg: of CO2e.
        source: how it was found.
    """

    kwh: float
    kg: float
    source: str


def emissions(kwh: float, country: str) -> float:
    """Convert electricity to kg CO2e.

    Args:
        kwh: >= 0.
        country: ISO code of three letters.

    Raises:
        UserError: the country's factor is not known here.
    """
    if country not in FACTORS:
        raise UserError(
            f"assess.country={country}: without the library codecarbon only {', '.join(FACTORS)} are known: install "
            "tl_lab[energy]"
        )
    return kwh * FACTORS[country]


def kwh_of_run(results: Mapping[str, Any]) -> float | None:
    """Give the electricity of a finished run: recorded in the run, or else estimated from its duration and threads.

    Args:
        results: of ``results.json``.

    Returns:
        kWh; None where nothing was recorded, and the run used an accelerator, whose power is not known, or its duration
        is not.
    """
    recorded = (results.get("energy") or {}).get("kwh")
    if recorded is not None:
        return float(recorded)
    seconds, threads = results.get("duration_s"), results.get("threads") or 1
    if not seconds or results.get("device", "cpu") != "cpu":
        return None
    return float(seconds) * int(threads) * WATTS / 3.6e6


def source_of_run(results: Mapping[str, Any]) -> str:
    """Say how :func:`kwh_of_run` found the electricity."""
    recorded = (results.get("energy") or {}).get("source")
    return str(recorded) if recorded else f"estimated: duration and threads at {WATTS:g} W a core"


def shares(total: float, seconds: Mapping[str, float]) -> dict[str, float]:
    """Share a total out in proportion to processor time; the shares sum to it."""
    whole = sum(seconds.values())
    return {name: total * value / whole if whole > 0 else total / len(seconds) for name, value in seconds.items()}


@dataclass
class FootprintMeter:
    """Watches a process from :meth:`start` to :meth:`stop`.

    Args:
        country: ISO code of three letters.
    """

    country: str = "USA"
    _tracker: Any = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)  # of processor time
    _since: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Begin; the interval between measurements is a second: what ends before the first is estimated."""
        self._began, self._since = time.process_time(), time.perf_counter()
        try:
            from codecarbon import OfflineEmissionsTracker

            logging.getLogger("codecarbon").setLevel(logging.ERROR)  # it speaks before it reads its log_level
            self._tracker = OfflineEmissionsTracker(
                country_iso_code=self.country,
                save_to_file=False,
                log_level="error",
                allow_multiple_runs=True,
                measure_power_secs=_INTERVAL_S,
            )
            self._tracker.start()
        except Exception:  # it is not installed, or fails on this machine, which must not end what is watched
            self._tracker = None

    def stop(self) -> Footprint:
        """End, and give what was used.

        Raises:
            UserError: nothing measures, and the country is not known.
        """
        measured = None
        with contextlib.suppress(Exception):  # as at the start
            measured = self._measured()
        if measured is not None:
            return measured
        kwh = self._estimated()
        return Footprint(kwh, emissions(kwh, self.country), _ESTIMATED)

    def _estimated(self) -> float:
        return (time.process_time() - self._began) * WATTS / 3.6e6

    def _measured(self) -> Footprint | None:
        """End codecarbon's tracker."""
        if self._tracker is None:
            return None
        kg = float(self._tracker.stop() or 0.0)
        kwh = float(self._tracker.final_emissions_data.energy_consumed)
        if time.perf_counter() - self._since < _INTERVAL_S:
            used, factor = self._estimated(), kg / kwh if kwh > 0 else emissions(1.0, self.country)
            return Footprint(used, used * factor, f"{_ESTIMATED}, for it ended before the first measurement")
        counters = os.access("/sys/class/powercap/intel-rapl", os.R_OK)
        return Footprint(kwh, kg, "measured by codecarbon" if counters else _BY_LOAD)
