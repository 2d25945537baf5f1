"""Encoders pretrained on unlabelled texts, then fine-tuned from that run, with and without an adapter."""

from pathlib import Path

import pytest
import torch
from adapted_texts import Trained, options_of, place_of_texts, trained
from laboratory import differing

pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec", "ignore::FutureWarning")
LEARNED = "network.backbone."


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write texts and an encoder."""
    return place_of_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module", params=["false", "true"], ids=["masked", "masked_and_next"])
def pretrained(request: pytest.FixtureRequest, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Pretrain on masked tokens, without and with the prediction of second texts."""
    task = ["strategy=pretraining", "strategy.pretext=masked_tokens", f"strategy.next_sentence={request.param}"]
    task += ["strategy.mask_share=0.5"]
    return trained(tmp_path_factory.mktemp("runs") / "pretrained", *options_of(place), *task, "forgetting=false")


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_fine_tuning_starts_from_the_pretrained_encoder_to_the_last_bit(
    adapter: str, pretrained: Trained, place: Path, tmp_path: Path
) -> None:
    if adapter == "lora":
        pytest.importorskip("peft", reason="tl_lab[peft] is not installed")
    stored = torch.load(pretrained.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    weights = {name.removeprefix("network."): one for name, one in stored.items() if name.startswith(LEARNED)}
    moved = differing({name: pretrained.start[name] for name in weights}, weights)
    assert {"word_embeddings", "query", "dense"} <= {name.rpartition(".")[0].rpartition(".")[2] for name in moved}

    words = [*options_of(place), "strategy=fine_tuning", f"init_from={pretrained.folder}", f"adapter={adapter}"]
    run = trained(tmp_path / "run", *words, "forgetting=false")
    start = {name.replace(".base_layer", ""): one for name, one in run.start.items() if ".lora_" not in name}
    assert {name for name in start if name.startswith("backbone.")} == weights.keys()
    assert differing(weights, start) == set()
    assert run.results["status"] == "completed"
    assert 0 <= run.results["metrics"]["test/acc"] <= 1
    assert "trained by" in run.results["weights"]["from"]
    changed = {name for name in differing(run.start, dict(run.network.state_dict())) if name.startswith("backbone.")}
    assert changed
    assert all(".lora_" in name for name in changed) == (adapter == "lora")
