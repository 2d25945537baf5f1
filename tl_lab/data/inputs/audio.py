"""Audio inputs: recordings as spectrograms, or as waveforms at a common sample rate."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.functional.log_mel import log_mel, mel_bands

__all__ = ["AudioSpec", "resampled"]


@dataclass(frozen=True)
class AudioSpec(InputSpec):
    """Recordings as ``{"mel": (N, M, L), "length": (N,)}`` or ``{"wave": (N, L), "length": (N,)}``, padded with 0.

    Args:
        rate: sample rate in Hz to which recordings are converted.
        features: ``mel``: log power in M frequency bands (see :func:`~tl_lab.functional.log_mel.log_mel`); ``wave``:
            the samples.
        bands: number of bands M.
        window, hop: samples per frame, and between the starts of two frames.
        seconds: largest duration of a recording; longer ones are cut.
        standardise: whether to scale each waveform to mean 0 and variance 1.
    """

    modality: ClassVar[str] = "audio"
    shortens: ClassVar[bool] = True

    rate: int = 16000
    features: Literal["mel", "wave"] = "mel"
    bands: int = 80
    window: int = 400
    hop: int = 160
    seconds: float = 30.0
    standardise: bool = False

    @cached_property
    def filters(self) -> Tensor:
        """Weights of the frequencies in each mel band."""
        return mel_bands(self.rate, self.window, self.bands)

    def features_of(self, wave: np.ndarray, rate: int) -> Tensor:
        """Compute the network's input from a recording.

        Args:
            wave: samples in [-1, 1], ``(S,)``, at least one.
            rate: sample rate in Hz.

        Returns:
            The spectrogram, ``(M, L)``, or the samples, ``(L,)``, float32.
        """
        x = torch.from_numpy(resampled(wave, rate, self.rate)[: int(self.seconds * self.rate)])
        if self.features == "mel":
            return log_mel(x, self.filters, self.window, self.hop)
        return (x - x.mean()) / (x.var(unbiased=False) + 1e-7).sqrt() if self.standardise else x

    def cuts(self, samples: int, rate: int) -> bool:
        """Whether a recording of this number of samples is cut."""
        return samples / rate > self.seconds

    def joined(self, parts: list[Tensor]) -> dict[str, Tensor]:
        """Combine the features of recordings into named tensors, padded to the longest."""
        longest = max(part.shape[-1] for part in parts)
        padded = torch.stack([F.pad(part, (0, longest - part.shape[-1])) for part in parts])
        return {self.features: padded, "length": torch.tensor([part.shape[-1] for part in parts])}

    def fit(self, raw: Any) -> Inputs:
        """Convert pairs of a waveform and its sample rate; tensors are returned unchanged."""
        return raw if isinstance(raw, Mapping) else self.joined([self.features_of(*one) for one in raw])

    def shorten(self, x: Inputs) -> Inputs:
        """Remove the padding that all recordings of a batch have in common."""
        assert isinstance(x, Mapping)
        return {**x, self.features: x[self.features][..., : int(x["length"].max())]}

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """Reject images and vectors."""
        return "" if not shape else "it takes recordings"

    def state(self) -> dict[str, Any]:
        """Return sample rate, kind of features and their sizes as plain values."""
        return {"modality": self.modality, **asdict(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the spec from the result of :meth:`state`."""
        return cls(**{name: value for name, value in state.items() if name != "modality"})

    def __str__(self) -> str:
        what = f"{self.bands} mel bands" if self.features == "mel" else "waves"
        return f"{what} at {self.rate:,} Hz, up to {self.seconds:g} s"


def resampled(wave: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Resample a waveform with a polyphase filter.

    Args:
        wave: samples, ``(S,)``.
        rate: sample rate of the waveform in Hz.
        to: required sample rate in Hz.

    Returns:
        The resampled waveform, float32.
    """
    if rate == to:
        return wave.astype(np.float32)
    from math import gcd

    from scipy.signal import resample_poly

    common = gcd(rate, to)
    return resample_poly(wave.astype(np.float64), to // common, rate // common).astype(np.float32)
