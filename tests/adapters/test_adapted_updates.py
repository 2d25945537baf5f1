"""Clipping and L2-SP under an adapter, on texts: they concern the parameters that are trained, and no others."""

import functools
from pathlib import Path

import pytest
import torch
from adapted_texts import place_of_texts, tuned
from laboratory import differing, fit, state
from torch import Tensor

pytest.importorskip("peft", reason="tl_lab[peft] is not installed")
pytest.importorskip("transformers", reason="tl_lab[text] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec", "ignore::FutureWarning")

RATE, NORM, ALPHA = 0.5, 0.01, 0.3
SGD = functools.partial(torch.optim.SGD, lr=RATE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write texts and an encoder."""
    return place_of_texts(tmp_path_factory.mktemp("texts"))


def test_the_clipped_norm_is_that_of_the_adapter_and_the_head(place: Path) -> None:
    data, model = tuned(place, "lora", optimizer=SGD, gradient_clip_norm=NORM)
    before, gradients = state(model.network), {}
    noting = model.on_gradients

    def on_gradients() -> None:  # called before the gradients are clipped
        noting()
        gradients.update({n: p.grad.clone() for n, p in model.network.named_parameters() if p.grad is not None})

    model.on_gradients = on_gradients  # type: ignore[method-assign]
    fit(data, model, epochs=1, limit_train_batches=1)
    learned = {name.removeprefix("network.") for name in model.mask().learned()}
    assert {name for name in learned if name.startswith("backbone.")} == {
        f"backbone.{name}" for name, _ in model.network.backbone.named_parameters() if "lora_" in name
    }
    assert gradients.keys() == learned
    length = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
    assert float(length) > 2 * NORM, "otherwise nothing would be clipped"
    after = state(model.network)
    assert differing(before, after) <= learned
    for name, gradient in gradients.items():
        torch.testing.assert_close(after[name], before[name] - RATE * NORM / (length + 1e-6) * gradient)


def test_l2_sp_pulls_the_adapter_to_its_start_and_nothing_else(place: Path) -> None:
    data, model = tuned(place, "lora", optimizer=SGD, l2_sp={"alpha": ALPHA})
    start = state(model.network)
    owned = {name for name in start if ".lora_" in name}
    assert owned
    fit(data, model, epochs=1, limit_train_batches=2)
    assert differing(start, state(model.network)) >= {name for name in owned if "lora_B" in name}
    weights: dict[str, Tensor] = dict(model.network.named_parameters())
    moved = {name: weights[name].detach().double().numpy() - start[name].double().numpy() for name in owned}
    penalty = model.penalties()["l2_sp"]
    expected = ALPHA / 2 * sum(float((change**2).sum()) for change in moved.values())
    assert expected > 0
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-5)
    model.zero_grad()
    penalty.backward()
    assert {name for name, weight in weights.items() if weight.grad is not None} == owned
    for name, change in moved.items():
        torch.testing.assert_close(weights[name].grad, torch.as_tensor(ALPHA * change).float(), rtol=1e-5, atol=1e-7)
