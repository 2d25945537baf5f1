"""The objective of an update: the task loss plus all weighted terms of the adaptation and the strategy."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from tl_lab.data.batches import Episode, Labelled, Unlabelled
from tl_lab.data.inputs.operations import Inputs, count, join
from tl_lab.domain_adaptation.base import DOMAINS, Absent, DomainOutput, Phase, Update
from tl_lab.errors import UserError, nearest
from tl_lab.problems.base import Criterion, Problem
from tl_lab.randomness import derive_seed, separate_stream
from tl_lab.training.means import Means
from tl_lab.training.parameters import LearningParts
from tl_lab.training.replay import Recording

__all__ = ["Objective", "Watcher"]

Watcher = Callable[[Mapping[str, Tensor], list[Tensor]], Mapping[str, float]]
"""Function that observes the terms of the objective and each domain's features, ``(B, D)``, before the backward pass of
an epoch's last batch. It must not change them; its result is logged with the terms."""

_ENCODERS = frozenset({"backbone", "bottleneck", "target_encoder"})


class Objective(LearningParts):
    """Computes the objective of one update, and records each term for the log."""

    problem: Problem
    criterion: Criterion
    seed: int
    feeds_features: bool
    """Whether batches contain the backbone's cached features instead of inputs."""
    _updates_done: int
    watchers: list[Watcher]
    means: Means
    """Means since the last log entry."""
    recording: Recording | None
    """Recording of the current update, if it is to be replayed."""
    _captured: dict[str, list[Tensor]] | None

    def features(self, x: Inputs) -> Tensor:
        """Compute the head's input, ``(B, D)``, from a batch's inputs or cached features."""
        return self.network.encoder()[1](x) if self.feeds_features else self.network.features(x)

    def classify(self, features: Tensor, batch: Labelled) -> tuple[Tensor, Tensor]:
        """Return the head's outputs, and the labels unchanged."""
        return self.network.head(features), batch.y

    def objective(
        self, source: Labelled | Episode, target: Unlabelled | None, update: Update, phase: Phase, watched: bool = False
    ) -> Tensor:
        """Sum the weighted terms, and record each for the log."""
        terms: dict[str, Tensor] = {}
        logs: dict[str, Tensor | float] = {}
        self._captured = {name: [] for name in self.adaptation.layers}
        features, target_features, logits, y = self.outputs_for(source, target, phase)
        if phase.task:
            assert logits is not None
            assert y is not None
            scored = source.query.index.flatten() if isinstance(source, Episode) else source.index
            weights = self.adaptation.sample_weights(scored)
            terms["task_loss"] = self.task_loss(logits, y, weights)
            if weights is not None:  # effective sample size relative to the batch size
                squares = len(weights) * weights.square().sum()
                logs["effective_share"] = weights.sum().square() / squares.clamp(min=torch.finfo(weights.dtype).tiny)
            logs.update(self.problem.batch_scores(logits.detach(), y))
        if target is not None:
            outputs = self._domain_outputs(source, target, features, target_features, logits, y, phase)
            with self._adaptations_stream():
                adaptation = self.adaptation.adapt(*outputs, update)
            terms.update(adaptation.terms)
            logs.update(adaptation.logs)
        self._captured = None
        if phase.task:
            if isinstance(source, Labelled):
                assert features is not None
                assert logits is not None
                terms.update(self.further_terms(source, features, logits))
            terms.update(self.penalties())
        first, *others = terms.values()
        if not others:
            loss = first
        elif len(others) == 1:  # the same sum with one GPU kernel
            loss = first + others[0]
        else:
            loss = torch.stack([first, *others]).sum()
        if watched:
            observed = [part for part in (features, target_features) if part is not None]
            for watch in self.watchers:
                logs.update(watch(terms, observed))
        self.note({"loss": loss, **terms, **logs})
        return loss

    def _domain_outputs(
        self,
        source: Labelled | Episode,
        target: Unlabelled,
        features: Tensor | None,
        target_features: Tensor | None,
        logits: Tensor | None,
        y: Tensor | None,
        phase: Phase,
    ) -> tuple[DomainOutput, DomainOutput]:
        """Collect the adaptation's inputs for each domain."""
        present = {"source": (features, source), "target": (target_features, target)}
        sizes = {domain: count(batch.x) for domain, (given, batch) in present.items() if given is not None}
        assert self._captured is not None
        layers: dict[str, dict[str, Tensor]] = {domain: {} for domain in sizes}
        for name, outputs in self._captured.items():
            for domain, part in zip(sizes, torch.cat(outputs).split(list(sizes.values())), strict=True):
                layers[domain][name] = part
        of_source = of_target = None
        if features is not None:
            of_source = DomainOutput(features, logits, y, source.index, source.x, layers["source"])
        if target_features is not None:
            target_logits = self.network.head(target_features) if self.adaptation.needs_target_logits else None
            of_target = DomainOutput(target_features, target_logits, None, target.index, target.x, layers["target"])
        both = of_source or Absent("source", phase.name), of_target or Absent("target", phase.name)
        return cast(tuple[DomainOutput, DomainOutput], both)

    def note(self, quantities: Mapping[str, Tensor | float]) -> None:
        """Add quantities of an update to the means of the next log entry."""
        (self.means.add if self.recording is None else self.recording.note)(quantities)

    def outputs_for(
        self, source: Labelled | Episode, target: Unlabelled | None, phase: Phase
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Compute the features and outputs that the objective uses.

        Returns:
            The features of the source and of the target, ``(B, D)``, each None if there are none or the phase does not
            need them; the source's logits ``(M, C)``, and the corresponding labels ``(M,)``.
        """
        assert isinstance(source, Labelled), "episodes require a strategy that supports them"
        if target is None or phase.needs == DOMAINS or self._pass_together:
            features, target_features = self.features_of_both(source, target, phase)
            return features, target_features, *self.classify(features, source)
        (domain,) = phase.needs
        with torch.set_grad_enabled(bool(phase.learns & _ENCODERS)):
            self.network.use(domain)
            alone = self.features(cast(Inputs, self._inputs(source, target)[int(domain == "target")]))
        return (alone, None, *self.classify(alone, source)) if domain == "source" else (None, alone, None, None)

    @property
    def _pass_together(self) -> bool:
        """Whether both domains pass through the network as one batch, so that they share batch-norm statistics."""
        return self.adaptation.batch_norm == "joint" and not self.adaptation.target_encoder

    def _adaptations_stream(self, use: str = "adaptation") -> AbstractContextManager[None]:
        """Keep the adaptation's random numbers (dropout, changes of the input) separate from the network's."""
        draws = use != "adaptation" or any(isinstance(module, nn.Dropout) for module in self.adaptation.modules())
        if not draws:
            return nullcontext()
        if self.recording is not None:
            return self.recording.stream(use, self.stream_seed(use))
        return separate_stream(self.stream_seed(use), self.device)

    def stream_seed(self, use: str) -> int:
        """Return the seed of a random stream of this update."""
        return derive_seed(self.seed, use, self.global_rank, self._updates_done)

    def features_of_both(
        self, source: Labelled | Episode, target: Unlabelled | None, phase: Phase
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the features of both domains, in one batch if the adaptation shares batch-norm statistics."""
        x, target_x = self._inputs(source, target)
        with torch.set_grad_enabled(bool(phase.learns & _ENCODERS)):
            if target_x is None:
                self.network.use("source")
                return self.features(x), None
            sizes = [count(x), count(target_x)]
            if 0 in sizes:
                raise UserError(
                    f"a training batch has {sizes[0]} samples of the source and {sizes[1]} of the target, but an "
                    "adaptation requires both: check the sizes of the data and data.batch_size"
                )
            if self._pass_together:
                of_source, of_target = self.features(join([x, target_x])).split(sizes)
                return of_source, of_target
            self.network.use("source")
            of_source = self.features(x)
            self.network.use("target")
            return of_source, self.features(target_x)

    def _inputs(self, source: Labelled | Episode, target: Unlabelled | None) -> tuple[Inputs, Inputs | None]:
        """Return the inputs as changed by the adaptation, which receives images in [0, 1]."""
        target_x = None if target is None else target.x
        if not self.adaptation.changes_inputs:
            return source.x, target_x
        if self.recording is not None and source is self.recording.batch[0]:
            x, target_x = self.recording.batch[2]
            return x, None if target is None else target_x
        wanted = self.network.backbone.spec
        with self._adaptations_stream("adaptation/inputs"):
            x = wanted.normalise(self.adaptation.source_input(cast(Tensor, wanted.restore(source.x))))
            if target_x is not None:
                target_x = wanted.normalise(self.adaptation.target_input(cast(Tensor, wanted.restore(target_x))))
        return x, target_x

    def task_loss(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of outputs ``(B, C)`` for labels; weights ``(B,)`` scale the samples' losses."""
        if weights is None:
            return self.criterion(outputs, y)
        return (weights * self.criterion(outputs, y, reduction="none")).mean()

    def capture(self, names: Iterable[str]) -> None:
        """Capture the outputs of the modules that the adaptation names whenever an objective is computed."""
        modules = dict(self.network.named_modules())
        for name in names:
            if name not in modules:
                raise UserError(f"the network has no module {name!r} for the adaptation; {nearest(name, modules)}")

            def keep(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                if self._captured is not None:
                    self._captured[name].append(output)

            modules[name].register_forward_hook(keep)
