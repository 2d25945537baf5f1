"""Pretraining without labels; further runs start from it by ``init_from``."""

from typing import Any, Literal

from torch import Tensor

from tl_lab.data.batches import Episode, Labelled, Unlabelled
from tl_lab.domain_adaptation.base import Phase, Update
from tl_lab.errors import UserError, nearest
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.model.network import weights_stream
from tl_lab.options import Count, Positive, Share
from tl_lab.problems import ALL
from tl_lab.randomness import generator
from tl_lab.strategies.linear_probe import probe_of
from tl_lab.strategies.pretexts import PRETEXTS, Options, Seen
from tl_lab.strategies.probed import Probed

__all__ = ["Pretraining"]


class Pretraining(Probed):
    """Learn features without labels, and score them by a linear probe.

    Labels are not used to train the backbone. Before each validation a linear model is fitted to the features of the
    training set and its labels (the linear evaluation protocol) and becomes the head, so that the run is scored like
    any other. The second stage is ``init_from=<this run>`` with ``strategy=fine_tuning data.labels=<few>``.

    Args:
        pretext: ``rotation``, ``views`` (SimCLR) or ``masked_patches`` for images; ``masked_tokens`` (BERT),
            ``next_tokens``, ``both_directions`` (ELMo) or ``skip_gram`` (word2vec) for texts; ``masked_spectrogram``
            for recordings.
        temperature: of ``views``, > 0.
        projection: width of the projection in which ``views`` are compared.
        mask_share: share of tokens or patches that are masked, in (0, 1]; usually 0.15 of tokens and 0.5 of patches.
        patch: side of ``masked_patches`` in pixels, and length of the segment of ``masked_spectrogram`` in frames.
        window: number of neighbouring words on each side for ``skip_gram``.
        negatives: random words per pair for ``skip_gram``.
        next_sentence: also predict whether a second text follows the first, with ``masked_tokens`` (BERT's second
            objective).
        inverse_penalty: C of the linear probe, > 0.
        options: keyword arguments of :class:`~tl_lab.strategies.base.Strategy`.

    Raises:
        UserError: the task does not suit the backbone, or ``views`` is used without augmentation.
    """

    problems = ALL

    def __init__(
        self,
        *,
        layers: LayerPolicy,
        pretext: Literal[
            "rotation",
            "views",
            "masked_patches",
            "masked_tokens",
            "next_tokens",
            "both_directions",
            "skip_gram",
            "masked_spectrogram",
        ] = "rotation",
        temperature: Positive = 0.5,
        projection: Count = 128,
        mask_share: Share = 0.15,
        patch: Count = 4,
        window: Count = 5,
        negatives: Count = 5,
        next_sentence: bool = False,
        inverse_penalty: Positive = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(layers=layers.or_rate(1.0), **options)
        if pretext not in PRETEXTS:
            raise UserError(f"strategy.pretext={pretext} does not exist; {nearest(str(pretext), PRETEXTS)}")
        if next_sentence and pretext != "masked_tokens":
            raise UserError(f"strategy.next_sentence is an option of strategy.pretext=masked_tokens, not of {pretext}")
        self.pretext_name, self.inverse_penalty = pretext, float(inverse_penalty)
        with weights_stream(self.seed, "pretext"):
            self.pretext = PRETEXTS[pretext](
                self.network,
                Options(float(temperature), projection, float(mask_share), patch, window, negatives, next_sentence),
            )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Add the layers of the pretext task, with the head's learning rate."""
        groups = super().parameter_groups()
        if learned := list(self.pretext.parameters()):
            groups.append({"name": "pretext", "share": 1.0, "params": learned})
        return groups

    def on_fit_start(self) -> None:
        """Refuse ``views`` without an augmentation, because all views would be equal."""
        augmentation = self.data.augmentation
        if self.pretext_name == "views" and (augmentation is None or not augmentation.active):
            raise UserError(
                "strategy.pretext=views compares two random views of each image: set augmentation=photographs or "
                "augmentation=characters"
            )
        self.pretext.prepare(self.data)
        super().on_fit_start()

    def objective(
        self, source: Labelled | Episode, target: Unlabelled | None, update: Update, phase: Phase, watched: bool = False
    ) -> Tensor:
        """Compute the loss of the pretext task."""
        assert isinstance(source, Labelled)
        draw = generator(self.seed, "pretext", self.updates_done, self.global_rank)
        seen = Seen(source.x, lambda: self.data.inputs_at(self.data.primary, source.index, draw), draw)
        quantities = self.pretext(seen)
        self.note({**quantities, f"{self.pretext_name}_loss": quantities["loss"]})
        return quantities["loss"]

    def fit_head(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Fit a linear probe with a fixed penalty."""
        weights, offsets, _ = probe_of(self.problem)(features, y, features, y, (self.inverse_penalty,))
        return weights, offsets

    def facts(self) -> dict[str, str]:
        """Report that labels are used only by the probe."""
        text = f"{self.pretext_name}, without labels; scored by a linear probe on the training set's features"
        return {**super().facts(), "pretraining": text}
