"""Encoders of waveforms of the library transformers: wav2vec 2.0, HuBERT, WavLM."""

from typing import Any

import torch
from torch import Tensor

from tl_lab.backbones.base import Backbone, LayerGroup
from tl_lab.backbones.grouping import cut
from tl_lab.data.inputs.audio import AudioSpec
from tl_lab.data.roots import places_of
from tl_lab.errors import UserError
from tl_lab.functional.pooling import pooled
from tl_lab.options import Count, Positive

__all__ = ["Wav2Vec2"]


class Wav2Vec2(Backbone):
    """An encoder of waveforms, whose states are averaged over the length of each recording.

    Args:
        name: on the hub (``facebook/wav2vec2-base``), or a folder written by ``save_pretrained``.
        pretrained: start from the published weights; False for random ones in the same architecture.
        standardise: scale each recording to mean 0 and variance 1, as in the training of the published models.
        seconds: largest length of a recording; longer ones are cut at the end.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.
        frames: return the states, 0 after a recording's end; None for their mean. The data determine it.

    Raises:
        UserError: the model or the library transformers is not available, or no name is given.

    References:
        A. Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations", NeurIPS
        2020. https://arxiv.org/abs/2006.11477
    """

    modalities = frozenset({"audio"})

    def __init__(
        self,
        name: str | None = None,
        pretrained: bool = True,
        standardise: bool = True,
        seconds: Positive = 20.0,
        max_groups: Count | None = None,
        frames: bool | None = None,
    ) -> None:
        super().__init__()
        self.frames = bool(frames)
        if name is None:
            raise UserError("backbone.name: name a model on the hub, such as facebook/wav2vec2-base, or its folder")
        self.net = _load(name, pretrained)
        if pretrained:
            self.source = f"{name} (library transformers)"
        self.num_features = int(self.net.config.hidden_size)
        self._max_groups = max_groups
        self.spec = AudioSpec(features="wave", seconds=float(seconds), standardise=standardise)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map ``wave`` (B, L) and ``length`` (B,) to ``(B, num_features)``, or to that of each frame."""
        inside = (torch.arange(x["wave"].shape[1], device=x["wave"].device) < x["length"][:, None]).long()
        # models with group norm were trained without a mask, on waves padded with 0
        mask = {"attention_mask": inside} if self.net.config.feat_extract_norm == "layer" else {}
        states = self.net(x["wave"], **mask).last_hidden_state  # (B, L', D)
        length = self.net._get_feat_extract_output_lengths(x["length"]).clamp(min=1)
        heard = (torch.arange(states.shape[1], device=states.device) < length[:, None]).to(states.dtype)
        return states * heard[..., None] if self.frames else pooled(states, heard)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the convolutions with all layers before the first block, and each block."""
        blocks = len(self.net.encoder.layers)
        group_of = {}
        for name in (n for n, _ in [*self.net.named_parameters(), *self.net.named_buffers()]):
            parts = name.split(".")
            inside = parts[:2] == ["encoder", "layers"]
            group_of[name] = 1 + int(parts[2]) if inside else 0
            if name.startswith("encoder.layer_norm"):
                group_of[name] = 0 if not self.net.config.do_stable_layer_norm else blocks
        titles = ["convolutions", *(f"block{number}" for number in range(1, blocks + 1))]
        return cut(self.net, titles, group_of, self._max_groups)


def _load(name: str, pretrained: bool) -> Any:
    try:
        import transformers
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise UserError("backbone=wav2vec2 needs the library transformers: install tl_lab[speech]") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = next((place for place in places_of(name) if place.is_dir()), None)
    source, local = str(folder or name), {"local_files_only": True} if folder else {}
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **local)
        if not hasattr(config, "feat_extract_norm"):
            raise ValueError(f"{config.model_type} is not an encoder of waveforms")
        config.apply_spec_augment = False
        if not pretrained:
            return AutoModel.from_config(config)
        return AutoModel.from_pretrained(source, config=config, trust_remote_code=False, dtype=torch.float32, **local)
    except Exception as error:  # of files, the network and unknown architectures
        reason = (str(error).strip().partition("\n")[0] or type(error).__name__)[:160].rstrip(". ")
        raise UserError(
            f"backbone.name={name} cannot be read ({reason}); give a folder or a name on the hub"
        ) from error
