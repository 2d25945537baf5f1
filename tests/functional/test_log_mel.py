"""Spectrograms, compared with a Fourier transform by hand and with the library transformers."""

import numpy as np
import pytest
import torch

from tl_lab.functional.log_mel import frames_of, log_mel, mel_bands


def _by_hand(wave: np.ndarray, bands: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Compute every frame's transform as a sum."""
    padded = np.pad(wave, window // 2, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(window // 2 + 1), np.arange(window)) / window)
    frames = [basis @ (hann * padded[k * hop : k * hop + window]) for k in range(len(wave) // hop)]
    logs = np.log10(np.maximum(bands @ np.abs(np.stack(frames, 1)) ** 2, 1e-10))
    return (np.maximum(logs, logs.max() - 8) + 4) / 4


def test_a_spectrogram_is_the_sum_of_its_definition() -> None:
    wave = np.random.default_rng(0).normal(size=333).clip(-1, 1) * np.linspace(0, 1, 333)
    bands = mel_bands(8000, 40, 6)
    found = log_mel(torch.from_numpy(wave), bands, window=40, hop=16)
    assert found.shape == (6, 20)
    np.testing.assert_allclose(found.numpy(), _by_hand(wave, bands.numpy(), 40, 16), atol=2e-5)


def test_bands_and_spectrogram_are_those_of_whispers_library() -> None:
    audio = pytest.importorskip("transformers.audio_utils", reason="transformers is not installed")
    from transformers import WhisperFeatureExtractor

    theirs = audio.mel_filter_bank(201, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_bands(16000, 400, 80).numpy(), theirs.T, atol=1e-12)
    time = np.arange(8000) / 16000
    wave = (0.5 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 3000 * time)).astype(np.float32)
    padded = WhisperFeatureExtractor()(wave, sampling_rate=16000, return_tensors="np").input_features[0]
    ours = log_mel(torch.from_numpy(wave), mel_bands(16000, 400, 80)).numpy()
    assert ours.shape == (80, 50)
    np.testing.assert_allclose(ours[:, :48], padded[:, :48], atol=1e-4)  # the last two frames see the end


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (159, 1), (160, 1), (320, 2), (400, 2), (16000, 100)])
def test_frames_of_short_recordings(samples: int, frames: int) -> None:
    assert frames_of(samples, 160) == frames
    found = log_mel(torch.full((samples,), 0.5), mel_bands(16000, 400, 8))
    assert found.shape == (8, frames)
    assert bool(found.isfinite().all())


def test_each_band_has_its_place_on_the_scale() -> None:
    bands = mel_bands(16000, 512, 40)
    centres = bands.argmax(1) * 16000 / 512
    below = centres[centres < 900].diff()
    assert float(below.max() - below.min()) <= 16000 / 512 + 1e-9  # equal steps below 1,000 Hz
    assert torch.equal(centres, centres.sort().values)
