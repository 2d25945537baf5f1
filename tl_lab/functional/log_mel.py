"""Spectrograms of sound: logarithms of the power in bands of the mel scale."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["frames_of", "log_mel", "mel_bands"]

_LINEAR = 200 / 3  # Hz a mel below the corner of Slaney's scale
_CORNER = 1000.0
_STEP = math.log(6.4) / 27  # of a mel above it
_LEAST = 1e-10


def mel_bands(rate: int, window: int, bands: int) -> Tensor:
    """Build triangular filters, equally spaced on Slaney's mel scale up to half the rate, each of unit area.

    Args:
        rate: samples per second.
        window: samples of a Fourier transform.
        bands: number of filters.

    Returns:
        Weights of the frequencies, ``(bands, window // 2 + 1)``, float64.

    References:
        M. Slaney, "Auditory Toolbox", technical report 1998-010, Interval Research, 1998.

    Examples:
        >>> tuple(mel_bands(rate=16000, window=400, bands=80).shape)
        (80, 201)
    """
    top = _mel(rate / 2)
    edges = torch.tensor([_hertz(top * k / (bands + 1)) for k in range(bands + 2)], dtype=torch.double)
    frequencies = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.double)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0) * 2 / (high - low)


def _mel(hertz: float) -> float:
    if hertz < _CORNER:
        return hertz / _LINEAR
    return _CORNER / _LINEAR + math.log(hertz / _CORNER) / _STEP


def _hertz(mel: float) -> float:
    corner = _CORNER / _LINEAR
    return mel * _LINEAR if mel < corner else _CORNER * math.exp(_STEP * (mel - corner))


def frames_of(samples: int, hop: int) -> int:
    """Count the frames of a recording: one per whole hop, and at least one.

    Examples:
        >>> frames_of(samples=16000, hop=160)
        100
    """
    return max(1, samples // hop)


def log_mel(wave: Tensor, bands: Tensor, window: int = 400, hop: int = 160) -> Tensor:
    """Compute the spectrogram that Whisper uses, with the length of the recording.

    P = |STFT(wave)|^2 with a Hann window, centred and reflected at the ends; S = log10 max(bands P, 1e-10), raised to
    at least its maximum minus 8; the result is (S + 4) / 4.

    Args:
        wave: samples in [-1, 1], ``(L,)``.
        bands: filters, ``(M, window // 2 + 1)`` (see :func:`mel_bands`).
        window: samples of a Fourier transform.
        hop: samples between two frames.

    Returns:
        ``(M, frames_of(L, hop))``, float32.

    References:
        A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023.
        https://arxiv.org/abs/2212.04356

    Examples:
        >>> silence = log_mel(torch.zeros(1600), mel_bands(rate=16000, window=400, bands=80))
        >>> tuple(silence.shape), float(silence.max())
        ((80, 10), -1.5)
    """
    frames = frames_of(len(wave), hop)
    wave = F.pad(wave.float(), (0, max(0, max(window, frames * hop) - len(wave))))
    hann = torch.hann_window(window, device=wave.device)
    spectrum = torch.stft(wave, window, hop, window=hann, return_complex=True)[:, :frames]
    power = bands.to(spectrum.real) @ spectrum.abs().square()
    logs = power.clamp(min=_LEAST).log10()
    return (torch.maximum(logs, logs.max() - 8) + 4) / 4
