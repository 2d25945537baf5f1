"""Knowledge distillation: a student learns from labels and from the predictions of a trained model."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled
from tl_lab.data.inputs.operations import move, take
from tl_lab.data.samples import in_memory
from tl_lab.errors import UserError
from tl_lab.functional.distillation import distillation_loss
from tl_lab.model.network import weights_stream
from tl_lab.options import NonNegative, Positive, Share
from tl_lab.strategies.base import Strategy
from tl_lab.strategies.linear_probe import probe_of
from tl_lab.texts import listed

__all__ = ["Distillation"]

_BATCH = 256  # samples per forward pass of the teacher


class Distillation(Strategy):
    """Train a network on labels and on the softened predictions of a trained model.

    The objective is (1 - w) times the loss on the labels plus w T^2 times the cross-entropy from the teacher's softened
    predictions to the student's. The teacher receives the training samples in its own form of input (such as another
    size or tokeniser) and predicts each once, in evaluation mode and without augmentation.

    Args:
        teacher: folder of a run on the same classes; or a published model, by its name on the hub or its folder. Its
            predictions are those of its own classifier or, without one, of a linear probe on the training set.
        temperature: T, > 0.
        weight: w, in [0, 1].
        features: weight of a further term, half the mean squared distance between the teacher's features and a learned
            linear map of the student's (Romero et al., equation 3, for the last layer); 0 for none.
        teacher_model: the teacher, which the run provides.
        options: those of :class:`~tl_lab.strategies.base.Strategy`.

    Raises:
        UserError: there is no teacher, or its classes differ.

    References:
        G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
        https://arxiv.org/abs/1503.02531
        A. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015. https://arxiv.org/abs/1412.6550
    """

    problems = frozenset({"single_label"})
    reads_raw: ClassVar[bool] = True
    of_runs: ClassVar[tuple[str, ...]] = ("teacher",)

    def __init__(
        self,
        *,
        teacher: str | None = None,
        temperature: Positive = 4.0,
        weight: Share = 0.9,
        features: NonNegative = 0.0,
        teacher_model: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if teacher_model is None:
            raise UserError(
                "strategy=distillation learns from a trained run or a published model: set "
                "strategy.teacher=<its folder> or the model's name"
            )
        self.teacher, self.temperature, self.weight = teacher, float(temperature), float(weight)
        self._model = [teacher_model]  # in a list, so that its parameters are neither trained nor saved
        self._answers: Tensor | None = None
        self._features: Tensor | None = None
        self.features_weight, self.hint = float(features), None
        if features:
            with weights_stream(self.seed, "hint"):
                self.hint = nn.Linear(self.network.num_features, teacher_model.network.num_features)
        names = list(teacher_model.problem.output_names)
        if names != list(self.problem.output_names):
            raise UserError(
                f"strategy.teacher: the run {teacher} has the classes {listed(names, 5)}, but the data have "
                f"{listed(self.problem.output_names, 5)}: a teacher needs the same classes in the same order"
            )

    @torch.no_grad()
    def prepare(self, data: DataModule) -> None:
        """Compute the teacher's prediction for every training sample."""
        model, x = self._model[0], data.raw[data.primary].x
        inputs = x if in_memory(x) else x.load_all(model.spec, data.workers)
        network = model.network.to(self.device)
        answers, features = [], []
        for index in torch.arange(len(data.raw[data.primary])).split(_BATCH):
            batch = model.spec.shorten(move(take(inputs, index), self.device))
            features.append(network.features(model.spec.prepare(batch)))
            answers += [] if network.head is None else [network.head(features[-1])]
        self._answers = torch.cat(answers) if answers else self._probed(torch.cat(features), data.training_labels)
        self._features = torch.cat(features) if self.hint is not None else None
        network.cpu()

    def _probed(self, features: Tensor, y: Tensor) -> Tensor:
        """Return the logits, ``(N, C)``, of a linear probe for the samples to which it was fitted."""
        weights, offsets, _ = probe_of(self.problem)(features, y, features, y, (1.0,))
        return torch.nn.functional.linear(features, weights.to(features), offsets.to(features))

    def task_loss(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Weight the loss on the labels."""
        return (1 - self.weight) * super().task_loss(outputs, y, weights)

    def further_terms(self, batch: Labelled, features: Tensor, outputs: Tensor) -> dict[str, Tensor]:
        """Return the weighted distance to the teacher's softened predictions."""
        assert self._answers is not None
        answers = self._answers[batch.index]
        terms = {"distillation": self.weight * distillation_loss(outputs, answers, self.temperature, scaled=True)}
        if self.hint is not None:
            assert self._features is not None
            distance = mse_loss(self.hint(features), self._features[batch.index])
            terms["hint"] = self.features_weight * distance / 2
        return terms

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Add the linear map between the features of both networks, with the head's learning rate."""
        groups = super().parameter_groups()
        if self.hint is not None:
            groups.append({"name": "hint", "share": 1.0, "params": list(self.hint.parameters())})
        return groups

    def facts(self) -> dict[str, str]:
        """Report the teacher."""
        text = f"{self.teacher}, temperature {self.temperature:g}, weight {self.weight:g}"
        text += f", features with weight {self.features_weight:g}" if self.features_weight else ""
        return {**super().facts(), "teacher": text}
