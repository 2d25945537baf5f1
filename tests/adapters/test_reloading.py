"""Adapted runs read again: equal outputs to the last bit, resumed training, and the library peft as the reader."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from adapted_texts import BEFORE, BESIDE, TOKENS, Trained, options_of, place_of_texts, trained, tuned
from laboratory import TinyNet, differing, fit, state
from torch import Tensor, nn

from tl_lab.adapters import Adapter
from tl_lab.backbones.base import Backbone
from tl_lab.config import compose
from tl_lab.config.instantiate import build_node
from tl_lab.errors import UserError
from tl_lab.run.exporting import export
from tl_lab.run.inference import load

pytest.importorskip("peft", reason="tl_lab[peft] is not installed")
pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec", "ignore::FutureWarning")

OF_WEIGHTS = ["bitfit", "norm_only"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write texts and an encoder."""
    return place_of_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def runs(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Give the run on texts under an adapter, made once."""
    folder = tmp_path_factory.mktemp("runs")

    @functools.cache
    def run_of(name: str) -> Trained:
        words = [*options_of(place), f"adapter={name}", *(["adapter.tokens=2"] if name in BEFORE else [])]
        words += ["strategy=fine_tuning", "strategy.layers.backbone_lr=1.0", "forgetting=false"]
        return trained(folder / name, *words)

    return run_of


@pytest.mark.parametrize("name", [*BESIDE, *BEFORE, *OF_WEIGHTS])
def test_logits_of_a_run_that_is_read_again_equal_those_of_the_trained_network(
    name: str, runs: Callable[[str], Trained]
) -> None:
    run = runs(name)
    again = load(run.folder)
    learned = differing(run.start, state(run.network))
    assert any(key.startswith("backbone.") and again.adapter.owns(key.removeprefix("backbone.")) for key in learned)
    with torch.no_grad():
        difference = (again.network(TOKENS) - run.network(TOKENS)).abs().max()
    assert float(difference) == 0.0


def test_logits_of_an_adapted_convolutional_network_that_is_read_again_are_equal(tmp_path: Path) -> None:
    words = ["data=digits", "backbone=conv4", "backbone.width=4", "adapter=lora", "data.labels=60"]
    run = trained(tmp_path / "run", *words, "data.batch_size=20", "strategy=fine_tuning")
    again = load(tmp_path / "run")
    assert any("lora_B" in key for key in differing(run.start, state(run.network)))
    height, width = again.spec.size
    x = torch.rand(3, 1, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (again.network(x) - run.network(x)).abs().max()
    assert float(difference) == 0.0
    with pytest.raises(UserError, match="those of this run cannot be loaded again"):
        export(tmp_path / "run", "peft")


@pytest.mark.parametrize(
    ("adapter", "reason"),
    [
        (
            "none",
            r"^--format=peft writes an adapter, and the run has no adapter \(adapter=none\): use --format=safetenso",
        ),
        ("norm_only", "is not an adapter of the library peft: export another format"),
    ],
)
def test_the_most_specific_reason_against_an_export_is_stated(adapter: str, reason: str, tmp_path: Path) -> None:
    """The weights were random in both runs, too, but trained ones would not make these exports possible."""
    words = ["data=digits", "backbone=lenet", "data.labels=60", "data.batch_size=20", "strategy=fine_tuning"]
    trained(tmp_path / "run", *words, f"adapter={adapter}")
    with pytest.raises(UserError, match=reason):
        export(tmp_path / "run", "peft")


@pytest.mark.parametrize("name", [*BESIDE, *BEFORE])
def test_a_resumed_run_on_texts_equals_an_unbroken_one(name: str, place: Path, tmp_path: Path) -> None:
    def run(folder: str, ckpt_path: Path | None = None) -> dict[str, Tensor]:
        data, model = tuned(place, name)
        saving = pl.callbacks.ModelCheckpoint(tmp_path / folder, filename="{epoch}", save_top_k=-1)
        fit(data, model, epochs=2, callbacks=[saving], ckpt_path=ckpt_path, limit_train_batches=2)
        assert model.updates_done == 4
        return state(model.network)

    whole, stopped = run("whole"), tmp_path / "whole" / "epoch=0.ckpt"
    early = torch.load(stopped, weights_only=True)["state_dict"]
    assert differing({key: early[f"network.{key}"] for key in whole if f"network.{key}" in early}, whole)
    assert differing(whole, run("resumed", stopped)) == set()


# ---------------------------------------------------------------------- the library's own format


@pytest.mark.parametrize("name", [*BESIDE, *BEFORE])
def test_the_library_peft_reads_an_exported_adapter_of_a_text_model(
    name: str, runs: Callable[[str], Trained], place: Path
) -> None:
    import peft
    from transformers import AutoModel

    run = runs(name)
    folder = export(run.folder, "peft", run.folder / "exported")
    with torch.no_grad():
        expected, plain = run.network.backbone(TOKENS), load(run.folder).network.backbone
        torch.testing.assert_close(plain(TOKENS), expected)
        given = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(place / "bert"), folder)
        found = peft.AutoPeftModelForFeatureExtraction.from_pretrained(folder) if name in BEFORE else given
        bare = _mean(AutoModel.from_pretrained(place / "bert"))
        for net in (given, found):
            torch.testing.assert_close(_mean(net), expected, atol=1e-6, rtol=0)
    assert float((bare - expected).abs().max()) > 1e-4, "an adapter that was left out would be noticed"
    with pytest.raises(UserError, match="is not an adapter of the library peft: export another format"):
        export(runs("bitfit").folder, "peft")


def _mean(net: Any) -> Tensor:
    """Average the states of each text's own tokens, ``(B, D)``."""
    states = net.eval()(input_ids=TOKENS["ids"], attention_mask=TOKENS["mask"]).last_hidden_state
    own, mask = states[:, -TOKENS["ids"].shape[1] :], TOKENS["mask"].unsqueeze(-1)
    return (own * mask).sum(1) / mask.sum(1)


class _Timm(Backbone):
    """A vision transformer with pooled features."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        torch.manual_seed(0)
        self.net = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=0, depth=2)
        self.num_features = 192

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def layer_groups(self) -> list[tuple[str, list[nn.Module]]]:
        return [("all", [self.net])]


def _tiny() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet()


@pytest.mark.parametrize(
    ("build", "shape"), [pytest.param(_Timm, (3, 32, 32), id="timm"), pytest.param(_tiny, (1, 6, 6), id="own")]
)
@pytest.mark.parametrize("name", BESIDE)
def test_the_library_peft_reads_an_adapter_of_an_image_network(
    name: str, build: Any, shape: tuple[int, ...], tmp_path: Path
) -> None:
    import peft

    net, plain = build(), build()
    adapter: Adapter = build_node(compose([f"adapter={name}"]).adapter)
    adapter.inject(net).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, parameter in net.named_parameters():
            if adapter.owns(path):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
        x = torch.rand(2, *shape, generator=draw)
        expected, before = net(x), plain.eval()(x)
        adapter.write(net, tmp_path, "random weights")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as of missing keys
            again = peft.PeftModel.from_pretrained(getattr(plain, "net", plain), str(tmp_path)).eval()
        torch.testing.assert_close(again(x), expected, atol=1e-6, rtol=1e-6)
    assert float((before - expected).abs().max()) > 1e-3, "an adapter that was left out would be noticed"
