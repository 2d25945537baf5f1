"""QLoRA without a GPU: which layers would be quantised, and what is refused."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from encoders_at_hand import tiny
from laboratory import TinyNet
from torch import nn

from tl_lab.adapters.qlora import QLoRA, quantise
from tl_lab.config import compose
from tl_lab.errors import UserError
from tl_lab.run.plan import Plan
from tl_lab.run.weights import base_of


class _Weight(nn.Parameter):
    """A parameter with the arguments of the library's quantised ones."""

    options: dict[str, Any]

    def __new__(cls, data: torch.Tensor, requires_grad: bool, **options: Any) -> "_Weight":
        made = nn.Parameter.__new__(cls, data, requires_grad)
        made.options = options
        return made


class _Layer(nn.Linear):
    """A linear layer with the arguments of the library's quantised ones."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, **options: Any) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.options = options


class _Layer4(_Layer): ...


class _Layer8(_Layer): ...


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put layers that only note their arguments in the place of bitsandbytes, which needs a GPU."""
    layers = {"Linear4bit": _Layer4, "Linear8bitLt": _Layer8, "Params4bit": _Weight, "Int8Params": _Weight}
    made = SimpleNamespace(nn=SimpleNamespace(**layers))
    monkeypatch.setitem(sys.modules, "bitsandbytes", made)
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", made.nn)


@pytest.mark.parametrize(("bits", "kind"), [(4, _Layer4), (8, _Layer8)])
def test_every_linear_layer_of_an_encoder_is_replaced_and_no_other(
    bits: int, kind: type[_Layer], library: None, tmp_path: Path
) -> None:
    from transformers import AutoModel

    net = AutoModel.from_pretrained(tiny(tmp_path, "bert"), add_pooling_layer=False)
    before, tensors = dict(net.named_modules()), {name: one.clone() for name, one in net.state_dict().items()}
    quantise(net, bits)
    linear = {
        f"encoder.layer.{i}.{part}"
        for i in range(2)
        for part in ("intermediate.dense", "output.dense", "attention.output.dense")
    }
    linear |= {f"encoder.layer.{i}.attention.self.{part}" for i in range(2) for part in ("query", "key", "value")}
    after = dict(net.named_modules())
    assert {name for name, module in after.items() if module is not before[name]} == linear
    assert all(type(after[name]) is kind for name in linear)
    for name in linear:
        new, old = after[name], before[name]
        assert (new.in_features, new.out_features) == (old.in_features, old.out_features)
        assert new.bias is old.bias
        assert torch.equal(new.weight, old.weight)
        assert not new.weight.requires_grad
    one = after["encoder.layer.0.output.dense"]
    if bits == 4:
        assert one.options == {"compute_dtype": torch.float32, "quant_type": "nf4"}
        assert one.weight.options == {"quant_type": "nf4"}
    else:
        assert one.options == one.weight.options == {"has_fp16_weights": False}
    assert all(torch.equal(one, tensors[name]) for name, one in net.state_dict().items())


def test_convolutions_and_layers_with_a_forward_of_their_own_stay(library: None) -> None:
    net = nn.ModuleDict(
        {"net": TinyNet(), "attention": nn.MultiheadAttention(8, 2), "free": nn.Linear(3, 2, bias=False)}
    )
    before = dict(net.named_modules())
    quantise(net, 4)
    after = dict(net.named_modules())
    assert {name for name in after if after[name] is not before[name]} == {"net.out.1", "free"}
    assert after["free"].bias is None


def test_what_is_lacking_is_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    net = TinyNet()
    before = dict(net.named_modules())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^adapter=qlora cannot be used here: .* need a GPU.*; use adapter=lora$"):
        QLoRA().inject(net)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else known(name))
    with pytest.raises(UserError, match=r"cannot be used here: .* bitsandbytes, which is not installed; use adapter=l"):
        QLoRA(bits=8).inject(net)
    assert dict(net.named_modules()) == before
    with pytest.raises(UserError, match="cannot be merged into them: start from a run with adapter=lora"):
        QLoRA().merge(net)


def test_base_weights_that_cannot_be_loaded_again_are_refused() -> None:
    plan = Plan.of(compose(["data=digits", "backbone=lenet", "strategy=fine_tuning", "adapter=qlora"]))
    with pytest.raises(UserError, match=r"adapter=QLoRA stores no base weights, .* backbone\.pretrained=true"):
        base_of(plan, TinyNet())
