"""The encoder of Whisper, applied to the true length of each recording."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.backbones.base import Backbone, LayerGroup
from tl_lab.backbones.ctranslate2 import read_variables, whisper_state
from tl_lab.backbones.packaged import packaged
from tl_lab.backbones.read_tokeniser import read_tokeniser
from tl_lab.backbones.whisper_decoder import Recogniser
from tl_lab.data.inputs.audio import AudioSpec
from tl_lab.data.roots import places_of
from tl_lab.errors import UserError
from tl_lab.functional.pooling import pooled
from tl_lab.options import Positive

__all__ = ["Whisper", "packaged_whisper"]

_FRAMES = 100  # frames per second of a spectrogram


class Whisper(Backbone):
    """The encoder of Whisper, whose states (50 per second) are averaged over the length of each recording.

    The published encoder always reads 30 seconds and fills up recordings with silence. Here frames and positions end
    with the recording, and the padding of a batch does not affect the features of shorter recordings.

    Args:
        name: on the hub (``openai/whisper-tiny.en``; read from the local cache if available) or a folder written by
            ``save_pretrained``; None for tiny.en from its package (see ``python -m tl_lab weights``).
        pretrained: start from the published weights; False for random ones in the same architecture.
        seconds: largest length of a recording, up to 30; longer ones are cut at the end.
        frames: return the states, 0 after a recording's end; None for their mean. The data determine it.

    Raises:
        UserError: the model or the library transformers is not available, or an option is out of its range.

    References:
        A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023.
        https://arxiv.org/abs/2212.04356
    """

    modalities = frozenset({"audio"})

    def __init__(
        self,
        name: str | None = None,
        pretrained: bool = True,
        seconds: Positive = 30.0,
        frames: bool | None = None,
    ) -> None:
        super().__init__()
        self.frames, self._name, self._pretrained = bool(frames), name, pretrained
        net, self.source = _encoder(name, pretrained)
        self.conv1, self.conv2, self.blocks, self.norm = net.conv1, net.conv2, net.layers, net.layer_norm
        # sinusoids, which are not trained
        self.register_buffer("positions", net.embed_positions.weight.detach().clone())
        self.num_features = self.positions.shape[1]
        longest = len(self.positions) * 2 / _FRAMES
        if not 0 < seconds <= longest:
            raise UserError(f"backbone.seconds must be above 0 and at most {longest:g}, not {seconds:g}")
        self.spec: AudioSpec = AudioSpec(bands=net.conv1.in_channels, seconds=float(seconds))

    positions: Tensor
    silence: float = 0.0
    """Seconds of silence after each recording, up to 30 seconds in total, which a decoder needs."""

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map ``mel`` (B, M, L) and ``length`` (B,) to ``(B, num_features)``, or to that of each frame."""
        states, mask = self.states(x)
        return states * mask[..., None] if self.frames else pooled(states, mask)

    def states(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the states, ``(B, ceil(L / 2), D)``, and the mask of those that belong to a recording."""
        mel, length = self._with_silence(x["mel"], x["length"])
        inside = _within(length, mel.shape[-1])
        # equivalent to a shorter recording, because convolutions pad with 0
        heard = F.gelu(self.conv1(mel)) * inside[:, None]
        states = F.gelu(self.conv2(heard)).transpose(1, 2)  # (B, D, L) -> (B, ceil(L / 2), D)
        states = states + self.positions[: states.shape[1]]
        mask = _within((length + 1) // 2, states.shape[1])
        unseen = torch.zeros(mask.shape, dtype=states.dtype, device=states.device)
        unseen = unseen.masked_fill(mask == 0, torch.finfo(states.dtype).min)[:, None, None]
        unseen = unseen.expand(-1, -1, states.shape[1], -1)
        for block in self.blocks:
            states = block(states, unseen)
        return self.norm(states), mask

    def _with_silence(self, mel: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Append silence to spectrograms, ``(B, M, L)``, at Whisper's lower limit of 80 dB below the maximum."""
        if not self.silence:
            return mel, length
        longer = (length + round(self.silence * _FRAMES)).clamp(max=2 * len(self.positions))
        padded = F.pad(mel, (0, int(longer.max()) - mel.shape[-1]))
        floor = (mel.amax((1, 2)) - 2)[:, None, None]  # 8 powers of ten, of which 4 are 1
        behind = _within(longer, padded.shape[-1]) - _within(length, padded.shape[-1])
        return torch.where(behind[:, None] > 0, floor, padded), longer

    def recogniser(self) -> nn.Module | None:
        """Build Whisper's decoder with its weights; None for random ones."""
        if not self._pretrained:
            return None
        net, tokeniser = _decoder(self._name)
        made = Recogniser(net.config.to_diff_dict(), tokeniser)
        made.net.load_state_dict(net.state_dict())
        return made

    def layer_groups(self) -> list[LayerGroup]:
        """Return the convolutions and each block; the last norm belongs to the last block."""
        groups: list[LayerGroup] = [("convolutions", [self.conv1, self.conv2, _Holder(self.positions)])]
        groups += [(f"block{number}", [block]) for number, block in enumerate(self.blocks, start=1)]
        groups[-1][1].append(self.norm)
        return groups


class _Holder(nn.Module):
    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.register_buffer("positions", positions)


def _within(length: Tensor, longest: int) -> Tensor:
    """Return 1 at positions before each length, ``(B, longest)``, and 0 at later ones."""
    return (torch.arange(longest, device=length.device) < length[:, None]).to(torch.float32)


def packaged_whisper() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read tiny.en from its package.

    Returns:
        Sizes for ``WhisperConfig`` of the library transformers, and the state of its ``WhisperModel``.
    """
    state = whisper_state(read_variables(packaged("whisper").locate()["model/model.bin"]))
    width = state["encoder.conv1.weight"].shape[0]
    layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layers."))
    hidden = state["encoder.layers.0.fc1.weight"].shape[0]
    sizes = {"d_model": width, "vocab_size": len(state["decoder.embed_tokens.weight"])}
    for part in ("encoder", "decoder"):
        sizes |= {f"{part}_layers": layers, f"{part}_attention_heads": width // 64, f"{part}_ffn_dim": hidden}
    return sizes, state


def _encoder(name: str | None, pretrained: bool) -> tuple[Any, str]:
    """Build the library's encoder, and return the source of its weights."""
    try:
        import transformers
        from transformers import WhisperConfig, WhisperModel
        from transformers.models.whisper.modeling_whisper import WhisperEncoder
    except ImportError as error:
        raise UserError("backbone=whisper needs the library transformers: install tl_lab[speech]") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if name is None:
        sizes, state = packaged_whisper()
        net = WhisperEncoder(WhisperConfig(**sizes))
        if pretrained:
            net.load_state_dict({n.removeprefix("encoder."): t for n, t in state.items() if n.startswith("encoder.")})
        return net, f"{packaged('whisper').package} (tiny.en)" if pretrained else ""
    folder = next((place for place in places_of(name) if place.is_dir()), None)
    source = str(folder or name)
    try:
        config: Any = WhisperConfig.from_pretrained(source, local_files_only=folder is not None)
        if not pretrained:
            return WhisperEncoder(config), ""
        model = WhisperModel.from_pretrained(source, local_files_only=Path(source).is_dir(), dtype=torch.float32)
    except Exception as error:  # of files, the network and unknown architectures
        reason = (str(error).strip().partition("\n")[0] or type(error).__name__)[:160].rstrip(". ")
        raise UserError(
            f"backbone.name={name} cannot be read as Whisper ({reason}); give a folder, a name on the hub, or null "
            "for the packaged tiny.en"
        ) from error
    return model.encoder, f"{name} (library transformers)"


def _decoder(name: str | None) -> tuple[Any, str]:
    """Read the library's decoder, and its tokeniser as JSON."""
    from transformers import WhisperConfig, WhisperModel
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

    if name is None:
        sizes, state = packaged_whisper()
        net = WhisperDecoder(WhisperConfig(**sizes))
        net.load_state_dict({n.removeprefix("decoder."): t for n, t in state.items() if n.startswith("decoder.")})
        return net, packaged("whisper").locate()["model/tokenizer.json"].read_text(encoding="utf-8")
    folder = next((place for place in places_of(name) if place.is_dir()), None)
    source, local = str(folder or name), {"local_files_only": True} if folder else {}
    try:
        model = WhisperModel.from_pretrained(source, dtype=torch.float32, **local)
        tokeniser = read_tokeniser(source, name, model.config.vocab_size)
    except UserError:
        raise
    except Exception as error:  # of files and the network
        reason = (str(error).strip().partition("\n")[0] or type(error).__name__)[:160].rstrip(". ")
        raise UserError(f"backbone.name={name}: its decoder cannot be read ({reason})") from error
    return model.decoder, tokeniser.backend_tokenizer.to_str()
