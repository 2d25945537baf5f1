"""Who answers in the parts that judge answers: the run given by ``init_from``, or a linear probe."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from tl_lab.assess.material import Material, Subject
from tl_lab.assess.probes import Probe, ProbeOfFindings, fit_probe, fit_probe_of_findings
from tl_lab.assess.results import Measure
from tl_lab.functional.calibration import temperature, temperature_interval

__all__ = ["Answerer", "answerer_of", "base_of", "base_probe"]


@dataclass
class Answerer:
    """A classifier whose answers are judged.

    Args:
        name: for readers.
        material: of the assessment.
        run: the run that answers; None for a linear probe on the representation ``on``.
        on: name of the representation.
    """

    name: str
    material: Material
    run: Path | None = None
    on: str = ""
    _logits: dict[str, Tensor] = field(default_factory=dict)

    def logits(self, name: str) -> Tensor:
        """Compute logits on the drawn samples of a set, once, ``(N, C)``, double."""
        if name not in self._logits:
            read = self._of_run if self.run is not None else lambda one: self.material.logits(self.on, one)
            self._logits[name] = read(name).double()
        return self._logits[name]

    def temperature(self) -> float:
        """Find the temperature on validation data."""
        return temperature(self.logits(self.material.validation), self.material.labels(self.material.validation))

    def measured_temperature(self) -> Measure:
        """Give the temperature with its bootstrap interval over validation samples."""
        logits, y = self.logits(self.material.validation), self.material.labels(self.material.validation)
        return Measure(self.temperature(), *temperature_interval(logits, y, seed=self.material.plan.seed))

    def probabilities(self, name: str, temperature: float = 1.0) -> Tensor:
        """Compute probabilities of classes, or of each label, on the drawn samples of a set, ``(N, C)``."""
        scores = self.logits(name) / temperature
        return scores.sigmoid() if self.material.finds else scores.softmax(1)

    def _of_run(self, name: str) -> Tensor:
        from tl_lab.run.inference import load_classifier
        from tl_lab.training.feature_reader import FeatureReader

        assert self.run is not None
        model = load_classifier(self.run)
        data = self.material.data.serving({name: self.material.drawn[name]}, model.spec)
        return FeatureReader(model.network, data).read(name, "outputs", cached=False).cpu()


def answerer_of(material: Material) -> Answerer:
    """Give the run of ``init_from`` where it has the data's classes, or else a probe on the first representation.

    Args:
        material: of the assessment.

    Raises:
        ValueError: the data have neither classes nor labels.
    """
    if not material.classifies and not material.finds:
        raise ValueError("these data have no classes, and answers are judged for classes and labels only")
    run = material.plan.init_from
    if run is not None:
        from tl_lab.run.inference import load_classifier

        if load_classifier(run).class_names == material.class_names:
            return Answerer(f"the run {Path(run).name}", material, Path(run))
    name = material.subjects[0].name
    return Answerer(f"a linear probe on {name}", material, on=name)


def base_probe(material: Material) -> tuple[Subject, Probe | ProbeOfFindings]:
    """Build the backbone as it was before the run given by ``init_from``, and fit a probe to the training set.

    Args:
        material: of an assessment with ``init_from``.
    """
    plan = replace(material.plan, init_from=None)
    subject: Subject = replace(material._subject(plan), name=f"{plan.backbone.choice} before")
    fit = fit_probe_of_findings if material.finds else fit_probe
    return subject, fit(material.features(subject, material.train), material.labels(material.train))


def base_of(material: Material, name: str) -> Tensor:
    """Compute the logits of a probe on the backbone as it was before the run given by ``init_from``.

    Args:
        material: of an assessment with ``init_from``.
        name: of the set.

    Returns:
        ``(N, C)``, double.
    """
    subject, probe = base_probe(material)
    return probe.logits(material.features(subject, name), len(material.class_names)).to(torch.float64)
