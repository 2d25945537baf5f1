"""Energy of the assessment, and of finished runs on the same data."""

from collections.abc import Mapping

from tl_lab.assess.footprint import Footprint, shares
from tl_lab.assess.material import Material
from tl_lab.assess.pictures import bars
from tl_lab.assess.results import Measure, NotApplicable, PartResult
from tl_lab.results.report.blocks import Table

__all__ = ["assess"]

TITLE = "Energy"


def assess(material: Material, footprint: Footprint | None, seconds: Mapping[str, float]) -> PartResult | NotApplicable:
    """State what the assessment used, shared out over its parts by processor time.

    Args:
        material: of the assessment.
        footprint: of all of it.
        seconds: of processor time by part.
    """
    if footprint is None:
        country = material.options.country
        return NotApplicable(TITLE, f"The carbon intensity of {country} is not known without the library codecarbon.")
    kwh, kg = shares(footprint.kwh, seconds), shares(footprint.kg, seconds)
    rows = [[name, f"{1000 * kwh[name]:.3f}", f"{1000 * kg[name]:.3f}"] for name in seconds]
    rows.append(["all", f"{1000 * footprint.kwh:.3f}", f"{1000 * footprint.kg:.3f}"])
    said = (
        f"The assessment used {1000 * footprint.kwh:.2f} Wh, {1000 * footprint.kg:.2f} g CO2e in "
        f"{material.options.country} ({footprint.source})."
    )
    measures = {"kwh": Measure(footprint.kwh), "kg": Measure(footprint.kg)}
    measures |= {f"kwh/{name}": Measure(value) for name, value in kwh.items()}
    table = Table(["part", "Wh", "g CO2e"], rows, 1, f"Electricity, {footprint.source}, shared by processor time")
    figure = bars({name: Measure(1000 * value) for name, value in kwh.items()}, "Wh")
    measured = footprint.source.startswith("measured")
    return PartResult(TITLE, said, "high" if measured else "low", measures, [table], {"Electricity by part": figure})
