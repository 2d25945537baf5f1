"""Pretraining without labels: closed forms of the tasks, a small run, and the probe that scores it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders_at_hand import tiny
from laboratory import Blobs, fit, make
from torch.nn import functional as F

from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.errors import UserError
from tl_lab.functional.contrastive import nt_xent
from tl_lab.functional.token_masking import mask_tokens
from tl_lab.model.network import Network
from tl_lab.strategies.linear_probe import fit_linear_probe
from tl_lab.strategies.pretexts import MaskedTokens, NextTokens, Options, Seen
from tl_lab.strategies.pretraining import Pretraining

OPTIONS = Options(temperature=0.5, projection=4, mask_share=0.5)


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------- values


def test_equal_views_cost_the_logarithm_of_the_others() -> None:
    same = torch.ones(4, 3)
    loss, _ = nt_xent(same, same, 0.5)
    assert loss.item() == pytest.approx(math.log(7))


def test_contrast_is_that_of_the_papers_equation() -> None:
    left, right = torch.randn(5, 3, generator=_draw()), torch.randn(5, 3, generator=_draw(1))
    z = torch.cat([left, right]).double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    scores = np.exp(z @ z.T / 0.2)
    terms = [-np.log(scores[i, (i + 5) % 10] / (scores[i].sum() - scores[i, i])) for i in range(10)]
    loss, found = nt_xent(left, right, 0.2)
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)
    others = scores - np.diag(np.diag(scores))
    assert found.item() == pytest.approx(np.mean(others.argmax(1) == (np.arange(10) + 5) % 10))


def test_tokens_are_hidden_as_in_bert() -> None:
    ids = torch.full((400, 50), 7)
    candidates = torch.ones_like(ids, dtype=torch.bool)
    candidates[:, 0] = False
    read, chosen = mask_tokens(ids, candidates, 0.15, 3, 1000, _draw())
    assert not chosen[:, 0].any()
    count = int(chosen.sum())
    assert count / candidates.sum() == pytest.approx(0.15, abs=0.01)
    assert float((read[chosen] == 3).float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float((read[chosen] == 7).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert torch.equal(read[~chosen], ids[~chosen])
    _, at_least = mask_tokens(ids[:, :3], candidates[:, :3], 1e-9, 3, 1000, _draw())
    assert at_least.sum(1).tolist() == [1] * 400


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory):
    from tl_lab.backbones.hf_causal import HFCausal
    from tl_lab.backbones.hf_text import HFText

    folders: dict[str, Path] = {kind: tiny(tmp_path_factory.mktemp(kind), kind, mask=True) for kind in ("bert", "gpt2")}
    return HFText(name=str(folders["bert"])).eval(), HFCausal(name=str(folders["gpt2"])).eval()


def _seen(backbone, texts: list[str]) -> Seen:
    x = backbone.spec.fit(texts)
    return Seen(x, lambda: x, _draw(3))


def test_hidden_tokens_are_restored_from_the_states_at_their_places(encoders) -> None:
    backbone = encoders[0]
    task = MaskedTokens(Network(backbone, 2), OPTIONS).eval()
    seen = _seen(backbone, ["a b c a", "c b", "a"])
    quantities = task(seen)
    special = torch.tensor([0, 1, 5])
    assert task.mask_id == 5
    x = seen.x
    read, chosen = mask_tokens(x["ids"], x["mask"].bool() & ~torch.isin(x["ids"], special), 0.5, 5, 6, _draw(3))
    states = backbone.net(input_ids=read, attention_mask=x["mask"]).last_hidden_state[chosen]
    scores = task.transform(states) @ backbone.net.get_input_embeddings().weight.T + task.bias
    torch.testing.assert_close(quantities["loss"], F.cross_entropy(scores, x["ids"][chosen]))
    quantities["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.parameters())
    assert backbone.net.get_input_embeddings().weight.grad.abs().sum() > 0


def test_the_next_token_is_predicted_from_those_before_it(encoders) -> None:
    backbone = encoders[1]
    task = NextTokens(Network(backbone, 2), OPTIONS)
    texts = ["a b c a", "c b"]
    loss = task(_seen(backbone, texts))["loss"]
    words, terms = backbone.net.get_input_embeddings().weight, []
    for text in texts:
        ids = backbone.spec.fit([text])["ids"]
        states = backbone.states({"ids": ids, "mask": torch.ones_like(ids)})[0]
        terms += [F.cross_entropy(states[t] @ words.T, ids[0, t + 1]) for t in range(ids.shape[1] - 1)]
    torch.testing.assert_close(loss, torch.stack(terms).mean())


# ---------------------------------------------------------------------- runs


def test_turns_are_learned_without_labels_and_a_probe_scores_the_features() -> None:
    data, model = make(Pretraining, data=Blobs(batch_size=20))
    told, losses = model.note, []
    model.note = lambda quantities: (losses.append(float(quantities["rotation_loss"].detach())), told(quantities))
    fit(data, model, epochs=12)
    assert losses[0] == pytest.approx(math.log(4), abs=0.5)
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    features, y = model.reader(data).backbone_features("train"), data.training_labels
    weights, _, _ = fit_linear_probe(features, y, features, y, (1.0,))
    (head,) = model.network.head.children()
    torch.testing.assert_close(head.weight.detach().double(), weights, rtol=1e-4, atol=1e-5)


def test_labels_do_not_change_what_the_backbone_learns() -> None:
    weights = []
    for shift in (0, 1):
        data, model = make(Pretraining, data=Blobs(batch_size=20))
        train = data.sets["train"]
        train.y.copy_((train.y + shift) % 3)
        fit(data, model, epochs=1)
        weights.append(torch.cat([parameter.flatten() for parameter in model.network.backbone.parameters()]))
    assert torch.equal(*weights)


def test_views_are_two_draws_of_the_augmentation() -> None:
    still = {"rotation": 0, "translation": 0, "scale": [1, 1], "flip": 0.0, "contrast": 0, "noise": 0.0}
    augmentation = Augmentation(**still, brightness=0.05)
    data, model = make(Pretraining, data=Blobs(batch_size=20, augmentation=augmentation), pretext="views")
    seen = []
    task = model.pretext.forward
    model.pretext.forward = lambda one: (seen.append((one.x, one.again())), task(one))[1]
    fit(data, model, epochs=1)
    first, second = seen[0]
    assert first.shape == second.shape
    assert not torch.equal(first, second)
    assert (first - second).abs().mean() < 0.3 * (first - second.roll(1, 0)).abs().mean()  # of the same samples


def test_tasks_that_do_not_suit_are_refused(encoders) -> None:
    with pytest.raises(UserError, match="set augmentation=photographs"):
        fit(*make(Pretraining, data=Blobs(batch_size=20), pretext="views"))
    with pytest.raises(UserError, match="made of inputs of the kind text"):
        make(Pretraining, data=Blobs(batch_size=20), pretext="masked_tokens")
    with pytest.raises(UserError, match="did you mean 'rotation'"):
        make(Pretraining, data=Blobs(batch_size=20), pretext="rotations")
    with pytest.raises(UserError, match="reads from left to right"):
        NextTokens(Network(encoders[0], 2), OPTIONS)
    with pytest.raises(UserError, match=r"strategy\.bottleneck=null"):
        make(Pretraining, data=Blobs(batch_size=20), bottleneck=4)
