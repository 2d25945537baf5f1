"""The timm wrapper: names, sizes, groups, weights from files, no network."""

import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tl_lab.backbones import weights
from tl_lab.backbones.timm import Timm
from tl_lab.errors import UserError

TINY = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"]


def _unreachable(*_: object, **__: object) -> None:
    raise OSError("no network here")


def test_groups_are_the_stages() -> None:
    def groups(name: str) -> list[str]:
        return [name for name, _ in Timm(name=name).layer_groups()]

    stages = [f"layer{n}" for n in range(1, 5)]
    assert groups("test_resnet") == ["stem", *stages]
    assert groups("test_vit") == ["stem", *(f"blocks.{n}" for n in range(6))]
    assert groups("test_convnext") == ["stem", *(f"stages.{n}" for n in range(4))]
    assert groups("test_efficientnet") == ["stem", *(f"blocks.{n}" for n in range(5))]
    assert groups("mobilenetv3_small_050")[:3] == ["stem", "blocks.0", "blocks.1"]


def test_tokens_of_a_vit_are_in_its_stem() -> None:
    net = Timm(name="test_vit")
    stem = {id(p) for module in net.layer_groups()[0][1] for p in module.parameters()}
    assert {id(net.net.cls_token), id(net.net.pos_embed), id(net.net.patch_embed.proj.weight)} <= stem
    last = {id(p) for module in net.layer_groups()[-1][1] for p in module.parameters()}
    assert id(net.net.norm.weight) in last


def test_groups_can_be_merged() -> None:
    names = [name for name, _ in Timm(name="test_vit", max_groups=3).layer_groups()]
    assert names == ["stem..blocks.0", "blocks.1..blocks.2", "blocks.3..blocks.5"]


def test_size_is_that_of_the_data_if_the_architecture_supports_it() -> None:
    assert Timm(name="test_resnet", input_size=[28, 28]).spec.size == (28, 28)
    assert Timm(name="test_vit", input_size=[32, 32]).spec.size == (32, 32)
    assert Timm(name="test_vit", input_size=[28, 28]).spec.size == (160, 160)  # patches of 16
    assert Timm(name="test_resnet", input_size=[28, 28], resize_to=[40, 48]).spec.size == (40, 48)
    with pytest.raises(UserError, match=r"do not tile it.*backbone\.resize_to"):
        Timm(name="test_vit", resize_to=[28, 28])


def test_the_spec_is_the_models_own() -> None:
    wanted = Timm(name="test_resnet").spec
    config = timm.data.resolve_model_data_config(timm.create_model("test_resnet"))
    assert (wanted.channels, *wanted.size) == config["input_size"]
    assert wanted.mean == config["mean"]
    assert wanted.std == config["std"]
    assert wanted.crop_pct == config["crop_pct"]
    grey = Timm(name="resnet10t", in_channels=1).spec
    assert grey.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert grey.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("classes", [1000, 7, 0])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(name: str, classes: int, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = timm.create_model(name, num_classes=classes).eval()
    file = tmp_path / f"weights{suffix}"
    save_file(source.state_dict(), file) if suffix == ".safetensors" else torch.save(source.state_dict(), file)
    torch.manual_seed(4)
    net = Timm(name=name, weights=str(file), input_size=[28, 28]).eval()
    source.reset_classifier(0)
    size = net.spec.size
    assert size == (160, 160)
    x = torch.rand(2, 3, *size)
    torch.testing.assert_close(net(x), source(x))
    assert "state_dict" not in net.net.pretrained_cfg
    assert net.classifier() is None or classes == 1000


@pytest.mark.parametrize("name", [*TINY, "resnet18", "mobilenetv3_small_050"])
def test_the_classifier_of_the_weights_reproduces_the_full_models_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    full = timm.create_model(name, num_classes=1000).eval()
    torch.save(full.state_dict(), tmp_path / "weights.pth")
    net = Timm(name=name, weights=str(tmp_path / "weights.pth")).eval()
    known, x = net.classifier(), torch.rand(2, 3, *net.spec.size)
    assert known is not None
    torch.testing.assert_close(net(x) @ known.weight.T + known.bias, full(x))
    assert (len(known.names), known.names[671][0]) == (1000, "mountain bike")
    assert Timm(name=name).classifier() is None


def test_one_channel_answers_as_grey_fed_three_times(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=0).eval()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    net = Timm(name="test_resnet", weights=str(tmp_path / "w.pth"), in_channels=1).eval()
    grey = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(net(grey), source(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_wrong_and_damaged_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save(timm.create_model("test_convnext").state_dict(), file)
    with pytest.raises(UserError, match=r"does not fit the timm model test_resnet \(missing: .* and \d+ more"):
        Timm(name="test_resnet", weights=str(file))
    state = timm.create_model("test_resnet").state_dict()
    state.pop("layer1.0.conv1.weight")
    torch.save(state, file)
    with pytest.raises(UserError, match=r"missing: layer1\.0\.conv1\.weight"):
        Timm(name="test_resnet", weights=str(file))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        Timm(name="test_resnet", weights=str(file))


def test_misspelt_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'resnet10t'"):
        Timm(name="resnet10_t")
    with pytest.raises(UserError, match=r"timm\.list_models\(\) lists all"):
        Timm(name="@@@@@@")
    with pytest.raises(UserError, match=r"no weights of that tag; did you mean 'resnet18\.a1_in1k'"):
        Timm(name="resnet18.a1_in1")


def test_an_option_that_the_model_lacks() -> None:
    with pytest.raises(UserError, match="drop_path_rate: the timm model vgg11 has no such option"):
        Timm(name="vgg11", drop_path_rate=0.1, input_size=[32, 32])


def test_rates_reach_the_model() -> None:
    net = Timm(name="test_vit", drop_rate=0.3, drop_path_rate=0.2).net
    assert net.head_drop.p == 0.3
    assert net.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)


def test_pretrained_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("urllib.request.urlopen", _unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"huggingface\.co, which could not be reached; .*backbone\.weights=<file>"):
        Timm(name="resnet18", pretrained=True)
    assert time.monotonic() - start < 5


def test_pretrained_from_the_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = timm.create_model("test_resnet").eval()
    file = tmp_path / "model.safetensors"
    save_file(source.state_dict(), file)
    monkeypatch.setattr("urllib.request.urlopen", _unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: str(file))
    net = Timm(name="test_resnet", pretrained=True).eval()
    assert torch.equal(net.net.conv1[0].weight, source.conv1[0].weight)


def test_a_silent_host_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: time.sleep(20))
    start = time.monotonic()
    with pytest.raises(UserError, match="could not be reached"):
        weights.require_reachable("https://example.invalid/file", "a model", patience_s=0.2)
    assert time.monotonic() - start < 2


def test_models_without_published_weights() -> None:
    with pytest.raises(UserError, match="timm publishes no weights for botnet50ts_256"):
        Timm(name="botnet50ts_256", pretrained=True)


def test_two_sources_of_weights() -> None:
    with pytest.raises(UserError, match="remove one of them"):
        Timm(name="test_resnet", pretrained=True, weights="file.pth")


# one of each family whose library cuts a last norm, or a lone scale, off as a group of its own
@pytest.mark.parametrize(
    ("name", "top"),
    [
        ("convnext_atto", "stages.3"),
        ("densenet121", "features.denseblock4"),
        ("swin_tiny_patch4_window7_224", "layers.3"),
        ("davit_tiny", "stages.3"),
        ("edgenext_xx_small", "stages.3"),
        ("tiny_vit_5m_224", "stages.3"),
        ("efficientvim_m1", None),
        ("hiera_tiny_224", None),
        ("test_vit_relpos", None),
    ],
)
def test_no_group_consists_of_a_single_norm(name: str, top: str | None) -> None:
    with torch.device("meta"):  # shapes alone: nothing is allocated or initialised
        net = timm.create_model(name, num_classes=0)
    wrapped = Timm.__new__(Timm)
    torch.nn.Module.__init__(wrapped)
    wrapped.net, wrapped._max_groups = net, None
    wrapped.check_layer_groups()
    groups = wrapped.layer_groups()
    assert len(groups) > 2
    assert top is None or groups[-1][0] == top
    for _, modules in groups:
        assert any(p.squeeze().ndim > 1 for module in modules for p in module.parameters())
