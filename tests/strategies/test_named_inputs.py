"""Strategies and adaptations on sequences of tokens, which are named tensors."""

import pytest
import torch
from laboratory import fit, state
from omegaconf import OmegaConf
from tokens_at_hand import SentenceEpisodes, SentencePair, Sentences, SentenceStream, make, sentences
from torch.nn import functional as F

from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.data.inputs.operations import take
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.domain_randomisation import DomainRandomisation
from tl_lab.domain_adaptation.importance_weighting import ImportanceWeighting
from tl_lab.errors import UserError
from tl_lab.functional.fisher import fisher_sums
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.run.inference import load
from tl_lab.strategies.continual.ewc import EWC
from tl_lab.strategies.continual.replay import Replay
from tl_lab.strategies.feature_extraction import FeatureExtraction
from tl_lab.strategies.few_shot.prototypical import Prototypical
from tl_lab.strategies.from_scratch import FromScratch


def scores_of(data, model, trainer):
    trainer.test(model, datamodule=data, verbose=False)
    return model.last_test


def test_a_network_learns_which_tokens_occur():
    data, model = make(FromScratch, Sentences(batch_size=20))
    trainer = fit(data, model, epochs=8)
    assert scores_of(data, model, trainer)["test/acc"] == 1.0


def test_padding_changes_no_output():
    data, model = make(FromScratch, Sentences(batch_size=20))
    batch = next(iter(data.train_dataloader()))
    longer = {name: torch.nn.functional.pad(tensor, (0, 3)) for name, tensor in batch.x.items()}
    torch.testing.assert_close(model(longer), model(batch.x))


def test_cached_features_give_the_results_of_the_network_at_every_step():
    results = []
    for cache in (True, False):
        data, model = make(FeatureExtraction, Sentences(batch_size=20), layers=LayerPolicy("none"), cache=cache)
        trainer = fit(data, model, epochs=3)
        results.append((scores_of(data, model, trainer), state(model.network)))
    assert results[0][0].keys() == results[1][0].keys()
    for name, value in results[0][0].items():
        torch.testing.assert_close(torch.tensor(value), torch.tensor(results[1][0][name]))
    torch.testing.assert_close(results[0][1], results[1][1])


def test_a_stream_of_sequences_of_other_lengths_is_learned_with_ewc():
    data, model = make(EWC, SentenceStream(batch_size=20, scenario="domain"), ewc_lambda=10.0)
    trainer = fit(data, model)
    scores = scores_of(data, model, trainer)
    assert model.accuracy_matrix[2, 1] == 1.0
    assert scores["test/acc"] == float(model.accuracy_matrix[2].mean())


def test_the_fisher_information_of_sequences_is_that_of_their_own_gradients():
    _, model = make(FromScratch, Sentences(batch_size=20))
    batch = sentences(7, seed=5)
    sums, count = fisher_sums(model.network, [(batch.x, batch.y)], "empirical")
    expected = {name: torch.zeros_like(parameter) for name, parameter in model.network.named_parameters()}
    model.network.eval()
    for i in range(7):
        loss = F.cross_entropy(model.network(take(batch.x, slice(i, i + 1))), batch.y[i : i + 1])
        gradients = torch.autograd.grad(loss, list(model.network.parameters()))
        for total, gradient in zip(expected.values(), gradients, strict=True):
            total += gradient.square()
    assert count == 7
    torch.testing.assert_close(sums, expected)
    assert not sums["backbone.embedding.weight"][9:].any()  # tokens that do not occur


def test_samples_of_several_tasks_are_fetched_in_order_and_padded():
    data, _ = make(Replay, SentenceStream(batch_size=20), memory={"policy": "reservoir", "size": 20})
    task, index = torch.tensor([1, 0, 1, 0]), torch.tensor([3, 5, 0, 2])
    batch = data.cut(task, index)
    for i in range(4):
        own = data.sets[f"task{int(task[i]) + 1}/train"]
        ids = own.x["ids"][index[i]]
        assert batch.x["ids"][i, : len(ids)].tolist() == ids.tolist()
        assert not batch.x["mask"][i, len(ids) :].any()
        assert batch.y[i] == own.y[index[i]]
    assert batch.x["ids"].shape == (4, 7)


def test_a_memory_of_sequences_is_replayed():
    data, model = make(Replay, SentenceStream(batch_size=20), memory={"policy": "reservoir", "size": 20})
    fit(data, model)
    assert model.accuracy_matrix[2].mean() > 0.9


def test_a_pair_of_domains_is_aligned():
    data, model = make(FromScratch, SentencePair(batch_size=20), adaptation=DANN(lambda_max=0.1))
    trainer = fit(data, model, epochs=6)
    scores = scores_of(data, model, trainer)
    assert scores["test/source/acc"] == 1.0
    assert 0.5 < scores["test/target/acc"] <= 1


def test_episodes_of_sequences_are_compared_by_prototypes():
    data, model = make(Prototypical, SentenceEpisodes(episodes_per_step=2, eval_batch_size=30))
    batch = next(iter(data.train_dataloader()))
    whole = data.sets["train"]
    assert batch.x["ids"].tolist() == whole.x["ids"][batch.index].tolist()
    trainer = fit(data, model, epochs=12)
    assert scores_of(data, model, trainer)["test/acc"] > 0.9


def test_a_checkpoint_predicts_sequences(tmp_path):
    data, model = make(FromScratch, Sentences(batch_size=20))
    trainer = fit(data, model, epochs=8)
    trainer.save_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    cfg = {"backbone": {"_target_": "tokens_at_hand.TokenNet"}, "strategy": {}, "evaluate": "last", "seed": 0}
    OmegaConf.save(OmegaConf.create(cfg), tmp_path / "config.yaml")
    loaded = load(tmp_path, allow=["tokens_at_hand.TokenNet"])
    assert loaded.spec == model.network.backbone.spec
    fresh = sentences(20, seed=99)
    predicted = loaded.predict(fresh.x, batch_size=7)
    assert predicted.labels == [["low", "high"][c] for c in fresh.y.tolist()]
    torch.testing.assert_close(predicted.probabilities, model(fresh.x).softmax(1).detach())


def test_methods_for_images_refuse_sequences_in_one_sentence():
    with pytest.raises(UserError, match="augmentation changes images, but these data are text"):
        make(FromScratch, Sentences(augmentation=Augmentation(noise=0.1)))
    with pytest.raises(UserError, match="changes images, but these data are texts"):
        make(FromScratch, SentencePair(batch_size=20), adaptation=DomainRandomisation(invert=0.5))
    data, model = make(FromScratch, SentencePair(batch_size=20), adaptation=ImportanceWeighting(compare="inputs"))
    with pytest.raises(UserError, match=r"named tensors, such as tokens: set domain_adaptation\.compare=features"):
        fit(data, model, epochs=1)
