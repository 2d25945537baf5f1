"""Classification without examples: by descriptions of classes, or by classes of the pretraining task."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Classifier, TextTower
from tl_lab.backbones.whisper_decoder import Recogniser, spellings
from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled, Unlabelled
from tl_lab.data.inputs.operations import move
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError, nearest
from tl_lab.functional.class_texts import class_directions, neutral_bias
from tl_lab.model.heads import GroupedHead, UnitLength
from tl_lab.options import NonNegative, Positive
from tl_lab.problems import SingleLabel, Transcript
from tl_lab.strategies.base import Strategy
from tl_lab.texts import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ZeroShot", "check_templates", "label_groups", "readable_name"]


class ZeroShot(Strategy):
    """Classify without training and without examples, by a method that depends on the backbone.

    Text encoders: a class is represented by the mean direction of its descriptions (templates times names), and the
    prediction is the class with the largest cosine minus that of a neutral text. Images: the classifier of the
    backbone's pretraining task is restricted to its classes that correspond to classes of the data; ``open_acc`` is the
    share of samples for which a corresponding class has the highest score among all classes of the pretraining task.
    Two-tower models compare images with descriptions, as text encoders do. Recordings: the decoder that was trained
    with the encoder computes the probability of the names of the classes as transcripts, in several spellings; or it
    writes transcripts. Other backbones, and encoders with random weights, are not applicable: the run reports only this
    and the accuracy of guessing.

    Args:
        templates: for texts, each with ``{}`` in place of the name of the class.
        image_templates: the same for images with a two-tower model.
        descriptions: one or several texts for a class, in place of its name; None for the names.
        neutral: texts without content, whose cosines are subtracted; empty for no calibration.
        temperature: for texts: the cosines are divided by it, which changes the confidence but not the prediction. A
            two-tower model uses its learned temperature.
        label_map: for images: the names of classes of the pretraining task for a class of the data; None for classes of
            the same name; without any, zero-shot is not applicable. Classes without a match are excluded from the test.
        silence: seconds of silence after each recording; None for 1 second, or for transcripts for padding to 30
            seconds, as in the decoder's training. The decoder writes remarks on noise if a recording ends abruptly.
        scores: ``test``: the test set; ``all``: every labelled sample, since none is used for training.
        options: keyword arguments of :class:`~tl_lab.strategies.base.Strategy`.

    Raises:
        UserError: a template lacks ``{}``, or a name does not exist.

    References:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, section
        3.1.4. https://arxiv.org/abs/2103.00020
    """

    needs = frozenset({"labels"})
    handles = frozenset({"labels", "domains", "target"})
    problems = frozenset({SingleLabel.name, Transcript.name})
    trains = False
    takes_adapter = False
    shardable = False
    wants_weights = True

    @classmethod
    def prepares_training(cls, node: Mapping[str, Any]) -> bool:
        """Whether the training set is read, which is so if every labelled sample is scored."""
        return node.get("scores") == "all"

    def __init__(
        self,
        *,
        templates: Sequence[str] = ("{}",),
        image_templates: Sequence[str] = ("a photo of a {}.",),
        descriptions: Mapping[str | int, str | Sequence[str]] | None = None,
        neutral: Sequence[str] = ("N/A",),
        temperature: Positive = 0.05,
        label_map: Mapping[str | int, str | Sequence[str]] | None = None,
        scores: Literal["test", "all"] = "test",
        silence: NonNegative | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if options.get("bottleneck"):
            raise UserError("strategy.bottleneck must be null for zero_shot, which would not train it")
        if scores not in ("test", "all"):
            raise UserError(f"strategy.scores must be 'test' or 'all', not {scores!r}")
        self.templates = check_templates("strategy.templates", templates, "{}")
        photographed = check_templates("strategy.image_templates", image_templates, "{}")
        self.descriptions, self.label_map = _listed(descriptions), _listed(label_map)
        self.neutral, self.temperature, self.scored = list(neutral), float(temperature), scores
        for option, given in (("descriptions", self.descriptions), ("label_map", self.label_map)):
            if unknown := [name for name in given if name not in self.problem.output_names]:
                raise UserError(
                    f"strategy.{option} names the class {unknown[0]!r}, which the data do not have; "
                    f"{nearest(unknown[0], self.problem.output_names)}"
                )
        self.tower: TextTower | None = None
        self.reason = ""  # reason for which it is not applicable
        self.left_out: dict[str, int] = {}
        backbone, names = self.network.backbone, self.problem.output_names
        if getattr(backbone.spec, "tokeniser", None) is not None:
            self.network.bottleneck = UnitLength()
        elif (tower := backbone.text_tower()) is not None:
            self.network.bottleneck, self.templates, self.tower = UnitLength(), photographed, tower
        elif (known := backbone.classifier()) is not None:
            self._map(names, known)
        elif (recogniser := backbone.recogniser()) is not None:
            self.network.head = self._prepare_recogniser(cast(Recogniser, recogniser))
            self._listen(cast(Any, backbone), silence)
        elif self.problem.writes:
            raise UserError("strategy=zero_shot transcribes by a decoder with trained weights: set backbone=whisper")
        else:
            self.reason = (
                f"{type(backbone).__name__} encodes no texts, and no classifier of the task of its weights is known"
            )
        self._refuse_unused()
        self._built = False
        self._among_all: dict[str, list[bool]] = {}

    def _refuse_unused(self) -> None:
        """Refuse options of another kind of zero-shot classifier, which would have no effect."""
        by_map = isinstance(self.network.head, GroupedHead)
        if self.label_map and not (by_map or self.reason):
            raise UserError(
                "strategy.label_map maps to the classes that an image classifier was trained on, which "
                f"{type(self.network.backbone).__name__} does not use: set strategy.descriptions"
            )
        if self.descriptions and by_map:
            raise UserError(
                "strategy.descriptions describes classes for encoders of texts, and "
                f"{type(self.network.backbone).__name__} has none: set strategy.label_map"
            )

    def without_weights(self) -> None:
        """Report that descriptions cannot be compared by an encoder that was not trained."""
        if not self.reason:
            self.reason = (
                f"the weights of {type(self.network.backbone).__name__} are random, entirely or in part: give a "
                "pretrained backbone or init_from=<run>"
            )

    # ------------------------------------------------------------------ classifiers

    def _map(self, names: Sequence[str], known: Classifier) -> None:
        """Use the classifier of the pretraining task, if some of its classes correspond to classes of the data."""
        try:
            self.mapped = label_groups(names, known, self.label_map)
        except UserError as error:
            if self.label_map:
                raise
            # too few equal names are not an error, so that other methods of a comparison still run
            self.reason = str(error)
            return
        head = GroupedHead(self.network.num_features, self.mapped)
        head.linear = _linear(known)
        self.network.head = head

    def _prepare_recogniser(self, recogniser: Recogniser) -> Recogniser:
        """Configure a speech decoder with the letters of transcripts or the names of the classes."""
        if self.problem.writes:
            return recogniser.for_letters(self.problem.output_names)
        texts = [self._texts_of(name) for name in self.problem.output_names]
        return recogniser.for_classes([[form for text in one for form in spellings(text)] for one in texts])

    def _listen(self, backbone: Any, silence: float | None) -> None:
        """Configure a speech encoder to return all states, and to append silence to each recording."""
        as_trained = 30.0 if self.problem.writes else 1.0
        backbone.frames, backbone.silence = True, as_trained if silence is None else float(silence)

    def setup(self, stage: str) -> None:
        """Select the samples that are scored."""
        super().setup(stage)
        sets = self.data.sets
        if self.scored == "all" and stage == "test":
            names = [self.data.primary, *self.data.val_names, *self.data.test_names]
            every = Samples.concatenate([sets[name] for name in dict.fromkeys(names)])
            self.data.score_instead(self.data.test_names[0], every)
        if isinstance(self.network.head, GroupedHead):
            for name in self.data.test_names if stage == "test" else self.data.val_names:
                self.data.score_instead(name, self._without_unmapped(name, sets[name]))

    def _without_unmapped(self, name: str, samples: Samples) -> Samples:
        assert samples.y is not None
        unmapped = [k for k, group in enumerate(self.mapped) if not group]
        here = ~torch.isin(samples.y.cpu(), torch.tensor(unmapped, dtype=torch.int64))
        if bool(here.all()):
            return samples
        self.left_out[name] = int((~here).sum())
        if not bool(here.any()):
            raise UserError(f"no sample of the set {name!r} is of a class that strategy.label_map names")
        return samples.subset(here.nonzero()[:, 0].to(samples.y.device))

    def on_validation_epoch_start(self) -> None:
        """Describe the classes."""
        super().on_validation_epoch_start()
        self.describe_classes()

    def on_test_epoch_start(self) -> None:
        """Describe the classes."""
        super().on_test_epoch_start()
        self.describe_classes()

    @torch.no_grad()
    def describe_classes(self) -> None:
        """Compute the head from the descriptions of the classes, once and before the first prediction."""
        if self._built or self.reason or isinstance(self.network.head, GroupedHead | Recogniser):
            return
        texts = [self._texts_of(name) for name in self.problem.output_names]
        directions = class_directions([self._embedded(of_class) for of_class in texts])
        head = cast(nn.Linear, next(iter(self.network.head.children())))
        head.bias.zero_()
        if self.tower is not None:
            head.weight.copy_(directions * self.tower.scale)
            self._built = True
            return
        head.weight.copy_(directions / self.temperature)
        if self.neutral:
            head.bias.copy_(neutral_bias(directions, self._embedded(self.neutral)) / self.temperature)
        self._built = True

    def _texts_of(self, name: str) -> list[str]:
        described = self.descriptions.get(name, [readable_name(name)])
        return [template.replace("{}", text) for template in self.templates for text in described]

    def _embedded(self, texts: list[str]) -> Tensor:
        if self.tower is not None:
            return self.tower.embed(texts).to(self.device)
        spec = self.network.backbone.spec
        encoded = cast(Any, spec).encode(texts)
        if encoded.cut:
            raise UserError(
                f"strategy.descriptions: {encoded.cut} of them are longer than the {cast(Any, spec).max_length} tokens "
                "that the backbone reads, and would be truncated: shorten them"
            )
        return self.network.features(move(cast(Any, spec).fit(texts), self.device))

    # ------------------------------------------------------------------ reporting

    def _measure(self, name: str, batch: Any, batch_idx: int) -> None:
        if not self.reason:
            super()._measure(name, batch, batch_idx)

    def _take_in(self, name: str, features: Tensor, batch: Labelled | Unlabelled) -> None:
        """Update the metrics, including the share of correct predictions among all classes of the pretraining task."""
        super()._take_in(name, features, batch)
        if isinstance(self.network.head, GroupedHead) and isinstance(batch, Labelled):
            best = self.network.head.linear(features).argmax(1).tolist()
            right = [k in self.mapped[y] for k, y in zip(best, batch.y.tolist(), strict=True)]
            self._among_all.setdefault(name, []).extend(right)

    def _scores(self, prefixes: Mapping[str, str]) -> dict[str, float]:
        if not self.reason:
            scores = super()._scores(prefixes)
            for name, right in self._among_all.items():
                if name in prefixes and right:
                    scores[f"{prefixes[name]}/open_acc"] = sum(right) / len(right)
            self._among_all = {}
            if isinstance(self.network.head, Recogniser) and self.problem.writes:
                # outputs are constructed from the text, so that their loss has no meaning
                scores = {name: value for name, value in scores.items() if not name.endswith("/loss")}
            return scores
        return {f"{prefix}/chance": 1 / self.problem.num_outputs for prefix in prefixes.values()}

    def facts(self) -> dict[str, str]:
        """Report how classes were described, or why zero-shot is not applicable."""
        facts, count = super().facts(), self.problem.num_outputs
        if self.reason:
            return {**facts, "zero-shot": f"not applicable: {self.reason}; guessing is correct in {1 / count:.1%}"}
        if isinstance(self.network.head, GroupedHead):
            unmapped = [name for name, group in zip(self.problem.output_names, self.mapped, strict=True) if not group]
            text = f"classifier of the pretraining task, {count - len(unmapped)} of {count} classes mapped"
            text += f"; left out: {listed(unmapped, 10)}" if unmapped else ""
        elif isinstance(self.network.head, Recogniser):
            silence = f"{cast(Any, self.network.backbone).silence:g} s of silence after each recording"
            transcribes = self.problem.writes
            text = (
                "decoding, greedy unless a text repeats itself"
                if transcribes
                else "probability of the classes' names as transcripts"
            )
            text += f", {silence}"
        else:
            text = f"{len(self.templates)} template{'s' * (len(self.templates) > 1)} x names"
            if self.tower is None:
                text += ", calibrated by a neutral text" if self.neutral else ", not calibrated"
            else:
                text += ", by the model's text tower"
        return {**facts, "zero-shot": text + ("; every labelled sample is scored" if self.scored == "all" else "")}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the properties of the network that the configuration does not state."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["model"]["unit_length"] = isinstance(self.network.bottleneck, UnitLength)
        checkpoint["model"]["not_applicable"] = self.reason
        if isinstance(self.network.head, GroupedHead):
            checkpoint["model"]["groups"] = self.mapped
        if isinstance(self.network.head, Recogniser):
            silence = cast(Any, self.network.backbone).silence
            checkpoint["model"]["recogniser"] = {**self.network.head.state(), "silence": silence}

    def figures(self, data: DataModule) -> "dict[str, Figure]":
        """Draw the predictions on test sets; recordings have no embedding, because their states are not pooled."""
        if not isinstance(self.network.head, Recogniser):
            return super().figures(data)
        from tl_lab.training.figures import figures_of_sets

        return figures_of_sets(self, data)


def check_templates(option: str, templates: Sequence[str], *places: str) -> list[str]:
    """Refuse templates that lack a placeholder.

    Args:
        option: name of the option.
        templates: at least one.
        places: placeholders that every template must contain.

    Raises:
        UserError: a template lacks a placeholder.
    """
    if isinstance(templates, str) or not len(templates):
        raise UserError(f"{option} needs at least one template, such as [{places[0]}], not {templates!r}")
    for template in templates:
        if lacking := [place for place in places if place not in template]:
            raise UserError(f"{option}: {template!r} lacks the placeholder {lacking[0]}")
    return list(templates)


def readable_name(name: str) -> str:
    """Write the name of a class as words: ``back_pack`` is ``back pack``."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def label_groups(names: Sequence[str], known: Classifier, label_map: Mapping[str, Sequence[str]]) -> list[list[int]]:
    """Find the classes of a pretraining task that correspond to each class of the data.

    Args:
        names: of the data's classes.
        known: the classifier of the pretraining task.
        label_map: names of such classes by class; other classes are matched by name.

    Returns:
        Numbers of the corresponding classes of the pretraining task, for each class; may be empty.

    Raises:
        UserError: an unknown name, a class of the pretraining task in two groups, or no match at all.
    """
    numbers: dict[str, list[int]] = {}
    for number, synonyms in enumerate(known.names):
        for name in synonyms:
            numbers.setdefault(_key(name), []).append(number)
    groups = []
    for name in names:
        given = label_map.get(name)
        for one in given or ():
            if _key(one) not in numbers:
                raise UserError(
                    f"strategy.label_map.{name}: no class of the pretraining task is called {one!r}; "
                    f"{nearest(_key(one), numbers)}"
                )
        wanted = [readable_name(name)] if given is None else given
        groups.append(sorted({number for one in wanted for number in numbers.get(_key(one), [])}))
    owners: dict[int, str] = {}
    for name, group in zip(names, groups, strict=True):
        for number in group:
            if number in owners:
                raise UserError(
                    f"strategy.label_map: {known.names[number][0]!r} belongs to both {owners[number]!r} and {name!r}"
                )
            owners[number] = name
    if not owners:
        raise UserError(
            f"no class of the data ({listed(names)}) is named like one of the pretraining task: set strategy.label_map"
        )
    return groups


def _key(name: str) -> str:
    return readable_name(name).lower()


def _linear(known: Classifier) -> nn.Linear:
    linear = nn.Linear(known.weight.shape[1], known.weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(known.weight)
        linear.bias.copy_(known.bias)
    return linear


def _listed(given: Mapping[str | int, str | Sequence[str]] | None) -> dict[str, list[str]]:
    return {str(name): [texts] if isinstance(texts, str) else list(texts) for name, texts in (given or {}).items()}
