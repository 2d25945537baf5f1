"""The step that all strategies share: against a loop written by hand, resumed, clipped, accumulated, diverging."""

import functools

import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, Blobs, blobs, differing, fit, make, state
from torch.nn import functional as F

from tl_lab.domain_adaptation.dann import DANN
from tl_lab.errors import UserError
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.training.schedules import InverseDecay

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_training_equals_a_loop_written_by_hand():
    data, model = make(scheduler=InverseDecay(), label_smoothing=0.1, class_weights="balanced")
    _, twin = make(scheduler=InverseDecay(), label_smoothing=0.1, class_weights="balanced")
    fit(data, model, epochs=2)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    loader = data.train_loader("train")
    twin.train()
    for epoch in range(2):
        loader.set_epoch(epoch)
        for i, batch in enumerate(loader):
            p = (3 * epoch + i) / 6
            optimizer.param_groups[0]["lr"] = 0.05 * (1 + 10 * p) ** -0.75
            loss = F.cross_entropy(twin.network(batch.x), batch.y, weight=torch.ones(3), label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for name, tensor in state(twin.network).items():
        torch.testing.assert_close(state(model.network)[name], tensor, rtol=1e-6, atol=1e-7)


def test_balanced_class_weights():
    labels = torch.arange(3).repeat_interleave(torch.tensor([10, 20, 30]))
    torch.testing.assert_close(
        SingleLabel(["a", "b", "c"]).criterion(labels, class_weights="balanced").weight, torch.tensor([2.0, 1.0, 2 / 3])
    )
    with pytest.raises(UserError, match="'balanced'"):
        make(class_weights="inverse")


def test_accumulation_equals_one_large_batch():
    # without batch-norm's coupling two half batches have the mean gradient of the whole
    layers = LayerPolicy("none")
    data, model = make(data=Blobs(batch_size=30), layers=layers, accumulate_batches=2)
    whole_data, whole = make(data=Blobs(batch_size=60), layers=layers)
    for each in (model, whole):
        each.freeze_for(0)
    fit(data, model, epochs=1)
    fit(whole_data, whole, epochs=1)
    assert model.updates_done == whole.updates_done == 1
    for a, b in zip(model.network.head.parameters(), whole.network.head.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_last_incomplete_group_is_averaged_over_its_batches():
    seen = []
    data, model = make(accumulate_batches=2, layers=LayerPolicy("none"))  # three batches: two updates

    def note():
        head = model.network.head[0]
        seen.append((head.weight.grad.clone(), head.weight.detach().clone(), head.bias.detach().clone()))

    model.on_gradients = note
    fit(data, model, epochs=1)
    assert len(seen) == model.updates_done == 2
    gradient, weight, bias = seen[-1]
    *_, batch = data.train_loader("train")
    model.network.backbone.eval()
    features = model.network.features(batch.x).detach()
    weight.requires_grad_()
    F.cross_entropy(features @ weight.T + bias, batch.y).backward()
    torch.testing.assert_close(gradient, weight.grad)


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    norms = []
    data, model = make(gradient_clip_norm=0.01, optimizer=functools.partial(torch.optim.SGD, lr=1.0))
    before = state(model)
    original = model.on_update

    def note():
        step = {n: t - before[n] for n, t in state(model).items() if n in dict(model.named_parameters())}
        norms.append(torch.stack([t.square().sum() for t in step.values()]).sum().sqrt().item())
        before.update(state(model))
        original()

    model.on_update = note
    fit(data, model, epochs=1)
    assert norms == pytest.approx([0.01] * 3, rel=1e-3)


def test_domain_pairs_count_updates_and_progress():
    seen = []
    data, model = make(data=BlobPair(batch_size=20), adaptation=DANN())
    model.on_update = lambda: seen.append(model.progress)
    trainer = fit(data, model, epochs=2)
    assert seen == pytest.approx([i / 6 for i in range(6)])
    assert model.updates_done == trainer.global_step == 6
    metrics = trainer.callback_metrics
    assert {"val/source/acc", "val/source/loss", "val/target/entropy", "val/target/info_max"} <= set(metrics)
    assert "val/target/acc" not in metrics


def test_nan_is_reported_in_one_sentence():
    data, model = make(optimizer=functools.partial(torch.optim.SGD, lr=1e30))
    with pytest.raises(UserError, match=r"diverged.*optimizer\.lr"):
        fit(data, model, epochs=5)


def test_weights_that_became_nan_in_the_last_update_are_not_saved(tmp_path):
    data, model = make(data=Blobs(batch_size=60))
    model.on_update = lambda: model.network.head[0].weight.data.fill_(float("nan"))  # after a finite loss
    saving = pl.callbacks.ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    with pytest.raises(UserError, match="diverged"):
        fit(data, model, epochs=1, callbacks=[saving])
    assert not list(tmp_path.iterdir())


def test_the_adaptations_dropout_does_not_change_the_networks():
    states = []
    for dropout in (0.0, 0.5):
        data = BlobPair(batch_size=20)
        adaptation = DANN(lambda_max=0.0, dropout=dropout)  # no gradient reaches the network
        _, model = make(data=data, adaptation=adaptation, dropout=0.5)
        fit(data, model, epochs=2)
        states.append(state(model.network))
    assert differing(*states) == set()


def test_nan_in_the_inputs_is_found_when_they_are_read():
    class Broken(Blobs):
        def read(self):
            sets = super().read()
            x = blobs(30, 0)
            x.x[3, 0, 2, 2] = float("nan")
            return {**sets, "val": x}

    with pytest.raises(UserError, match="1 of the 30 samples of the set 'val' contain NaN"):
        Broken().load()


@pytest.mark.parametrize("adapts", [False, True])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, adapts):
    def parts():
        data = BlobPair(batch_size=20) if adapts else Blobs(batch_size=20)
        adaptation = DANN(dropout=0.2) if adapts else None
        layers = LayerPolicy(unfreeze_every=1, backbone_lr=0.5, decay=2.6)
        adam = functools.partial(torch.optim.AdamW, lr=0.01)
        return make(data=data, adaptation=adaptation, layers=layers, optimizer=adam, dropout=0.3)

    def checkpoints(name):
        return [pl.callbacks.ModelCheckpoint(tmp_path / name, filename="{epoch}", save_top_k=-1)]

    data, unbroken = parts()
    fit(data, unbroken, epochs=4, callbacks=checkpoints("a"))
    data, resumed = parts()
    torch.manual_seed(99)  # another process would have another state, too
    fit(data, resumed, epochs=4, callbacks=checkpoints("b"), ckpt_path=tmp_path / "a" / "epoch=1.ckpt")
    assert differing(state(unbroken), state(resumed)) == set()
    assert resumed.updates_done == unbroken.updates_done == 12


def test_switching_an_option_does_not_change_other_random_streams():
    _, plain = make(data=BlobPair(batch_size=20))
    _, adapted = make(data=BlobPair(batch_size=20), adaptation=DANN(hidden=(64, 64)))
    _, necked = make(data=BlobPair(batch_size=20), bottleneck=5)
    network = state(plain.network)
    assert differing(network, state(adapted.network)) == set()
    assert differing(state(plain.network.backbone), state(necked.network.backbone)) == set()


def test_dropout_draws_differ_between_steps_but_not_between_runs():
    first, second = (make(dropout=0.5) for _ in range(2))
    for data, model in (first, second):
        fit(data, model, epochs=1)
    assert differing(state(first[1]), state(second[1])) == set()
    _, other = make(dropout=0.5, seed=1)
    assert differing(state(first[1]), state(other))
