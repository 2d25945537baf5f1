"""Whisper's decoder as a head: texts in a tree score as each alone, greedy decoding is the library's, silence."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from scipy.io import wavfile

from tl_lab.backbones import whisper_decoder
from tl_lab.backbones.whisper import Whisper
from tl_lab.backbones.whisper_decoder import Recogniser, spellings, token_tree
from tl_lab.errors import UserError
from tl_lab.functional.transcripts import frames_heard
from tl_lab.problems import Transcript
from tl_lab.run.inference import load

transformers = pytest.importorskip("transformers", reason="tl_lab[speech] is not installed")
tokenizers = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
WORDS = [" a", " b", " a.", " b.", " A", " B", " A.", " B.", " [x"]
SIZES = {"d_model": 16, "num_mel_bins": 8, "vocab_size": 12, "max_source_positions": 40, "max_target_positions": 12}
SIZES |= {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
SIZES |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "pad_token_id": 9, "bos_token_id": 9, "eos_token_id": 9}
SIZES |= {"decoder_start_token_id": 10}


def tiny(folder: Path) -> Path:
    """Save a random Whisper with a tokeniser of nine words."""
    vocabulary = {word: number for number, word in enumerate([*WORDS, *SPECIAL])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=" [x"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "merged_with_next")
    made.decoder = tokenizers.decoders.Fuse()
    made.add_special_tokens(SPECIAL)
    torch.manual_seed(0)
    transformers.WhisperModel(transformers.WhisperConfig(**SIZES)).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=SPECIAL[0]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("whisper"))


def test_a_tree_joins_texts_that_begin_alike() -> None:
    tree = token_tree([7, 8], [[1, 2], [1, 3]], end=0)
    assert tree.ids.tolist() == [7, 8, 1, 2, 3]
    assert tree.places.tolist() == [0, 1, 2, 3, 3]
    assert tree.seen.int().tolist()[4] == [1, 1, 1, 0, 1]  # not the 2 of the other text
    assert tree.steps.T.tolist() == [[1, 1, 0], [2, 2, 0], [3, 0, 0], [1, 1, 1], [2, 3, 1], [4, 0, 1]]
    assert spellings("7") == [" 7", " 7.", " seven", " seven.", " Seven", " Seven."]


def test_class_scores_equal_those_of_each_text_separately(folder: Path) -> None:
    decoder = Whisper(name=str(folder), seconds=0.5).recogniser().eval()
    spelt = [spellings("a"), [" b", " b b."]]
    states = torch.randn(1, 6, 16)
    scores = decoder.for_classes(spelt)(torch.nn.functional.pad(states, (0, 0, 0, 3)))[0]  # behind the end: 0
    expected = []
    for forms in spelt:
        own = []
        for form in forms:
            ids = [10, 11, *[WORDS.index(f" {word}") for word in form.split()], 9]
            seen = decoder.net(input_ids=torch.tensor([ids[:-1]]), encoder_hidden_states=states).last_hidden_state[0]
            log_p = (seen @ decoder.net.embed_tokens.weight.T).log_softmax(-1)
            own.append(sum(log_p[place, ids[place + 1]] for place in range(1, len(ids) - 1)))
        expected.append(torch.stack(own).logsumexp(0))
    torch.testing.assert_close(scores, torch.stack(expected), rtol=1e-4, atol=1e-4)
    again = Recogniser.from_state(decoder.state())
    again.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(again.eval()(states)[0], scores, rtol=1e-4, atol=1e-4)


def test_a_text_that_repeats_itself_is_decoded_again_at_the_next_temperatures(folder: Path, monkeypatch) -> None:
    decoder = Whisper(name=str(folder), seconds=0.5).recogniser().eval()
    asked = []

    def decoded(states, temperature, draw):
        asked.append(temperature)
        return {0.0: ("five " * 60, -0.1), 0.2: ("five eight", -1.5)}.get(temperature, ("five one", -0.5))

    monkeypatch.setattr(decoder, "_decoded", decoded)
    text, sure = decoder.transcribe(torch.randn(1, 5, 16))
    assert (text, asked) == ("five one", [0.0, 0.2, 0.4])  # the second is unsure
    assert sure == pytest.approx(math.exp(-0.5))


def test_samples_are_drawn_from_the_probabilities_at_a_temperature(folder: Path) -> None:
    decoder = Whisper(name=str(folder), seconds=0.5).recogniser().eval()
    states = torch.randn(1, 5, 16)
    at = [decoder._decoded(states, 1e-4, torch.Generator().manual_seed(k)) for k in range(3)]
    assert at == [decoder._decoded(states, 0.0, torch.Generator())] * 3  # nearly no randomness is left
    hot = {decoder._decoded(states, 5.0, torch.Generator().manual_seed(k))[0] for k in range(8)}
    assert len(hot) > 1


def test_greedy_decoding_without_a_cache_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper_decoder, "_UNSURE", -math.inf)
    monkeypatch.setattr(whisper_decoder, "_REPEATS", math.inf)
    decoder = Whisper(name=str(folder), seconds=0.5).recogniser().eval()
    assert decoder.suppressed.nonzero()[:, 0].tolist() == [8, 10, 11]  # a remark's sign, and what is special
    states, given = torch.randn(1, 5, 16), [10, 11]
    for step in range(6):
        seen = decoder.net(input_ids=torch.tensor([given]), encoder_hidden_states=states).last_hidden_state[0, -1]
        logits = (decoder.net.embed_tokens.weight @ seen).masked_fill(decoder.suppressed, -torch.inf)
        logits[9] = -torch.inf if step == 0 else logits[9]
        given.append(int(logits.argmax()))
        if given[-1] == 9:
            break
    text, sure = decoder.transcribe(states)
    assert text == "".join(WORDS[k] for k in given[2:] if k != 9)
    assert 0 < sure <= 1
    problem = Transcript(["blank", "unknown", " ", "a"])
    outputs = decoder.for_letters(problem.output_names)(torch.cat([states, states]))
    heard = " ".join(text.lower().replace(".", "").replace("b", "?").split())
    assert problem.words(problem.predict(outputs).values) == [heard] * 2
    assert bool(frames_heard(outputs).any())


def test_silence_is_what_the_spectrogram_of_silence_is(folder: Path) -> None:
    net = Whisper(name=str(folder), seconds=0.5)
    wave = np.sin(np.arange(3200) / 5).astype(np.float32)
    mel = net.spec.features_of(wave, 16000)
    net.silence = 0.1
    longer, length = net._with_silence(mel[None], torch.tensor([mel.shape[1]]))
    assert length.tolist() == [30]
    theirs = net.spec.features_of(np.pad(wave, (0, 1600)), 16000)
    torch.testing.assert_close(longer[0, :, 23:], theirs[:, 23:])  # two frames see the end of the sound
    net.silence = 30.0
    assert net._with_silence(mel[None], torch.tensor([20]))[1].tolist() == [80]  # no further than there are positions


def test_runs_that_name_classes_and_transcripts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    for i in range(20):
        wavfile.write(tmp_path / f"{i}.wav", 16000, (9000 * np.sin(np.arange(3200) / (5 + i))).astype(np.int16))
    rows = [(f"{i}.wav", "ab"[i % 2]) for i in range(20)]
    pd.DataFrame(rows, columns=["path", "transcript"]).to_csv(tmp_path / "speech.csv", index=False)
    options = ["strategy=zero_shot", "backbone=whisper", f"backbone.name={folder}", "backbone.seconds=0.5"]
    options += ["data=speech_table", f"data.path={tmp_path / 'speech.csv'}", "logger=none", "figures=false"]
    found = run_in(tmp_path / "run", *options)
    assert {"test/wer", "test/cer", "test/letter_acc"} <= found["metrics"].keys()
    assert "test/loss" not in found["metrics"]
    facts = json.loads((tmp_path / "run" / "results.json").read_text())["protocol"]
    assert facts["zero-shot"] == "decoding, greedy unless a text repeats itself, 30 s of silence after each recording"
    decoder = Whisper(name=str(folder), seconds=0.5).recogniser()
    assert decoder is not None
    assert len(load(tmp_path / "run").predict(tmp_path / "0.wav").labels) == 1
    with pytest.raises(UserError, match="transcribes by a decoder with trained weights"):
        run_in(tmp_path / "none", *options[:1], "backbone=audio_cnn", *options[4:])
