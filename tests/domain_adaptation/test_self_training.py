"""Self-training: the selected samples, the loss, and the teacher."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, differing, fit, make, network, state

from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.domain_adaptation.base import DomainOutput, Update
from tl_lab.domain_adaptation.self_training import SelfTraining, pseudo_label_loss
from tl_lab.errors import UserError

TEACHER = torch.tensor([[0.96, 0.03, 0.01], [0.5, 0.3, 0.2], [0.0, 0.05, 0.95], [0.1, 0.8, 0.1]], dtype=torch.double)
LOGITS = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [0.5, -1.0, 0.5], [0.0, 0.0, 1.0]])


def log_softmax(z):
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def test_only_confident_samples_count_and_the_mean_is_over_all():
    loss, used = pseudo_label_loss(torch.tensor(LOGITS), TEACHER, 0.95)
    expected = -(log_softmax(LOGITS)[0, 0] + log_softmax(LOGITS)[2, 2]) / 4
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    assert float(used) == 0.5


def test_a_threshold_of_0_uses_all_and_one_above_all_uses_none():
    loss, used = pseudo_label_loss(torch.tensor(LOGITS), TEACHER, 0.0)
    assert float(loss) == pytest.approx(-log_softmax(LOGITS)[np.arange(4), [0, 0, 2, 1]].mean(), rel=1e-12)
    assert float(used) == 1
    loss, used = pseudo_label_loss(torch.tensor(LOGITS), TEACHER, 0.97)
    assert float(loss) == float(used) == 0


def test_the_weight_rises_over_the_warmup():
    torch.manual_seed(0)
    net, method = network(), SelfTraining(weight=0.5, threshold=0.0, warmup=0.4)
    method.build(net)
    x, logits = torch.randn(4, 5), torch.tensor(LOGITS).float()
    target = DomainOutput(x, logits, x=x)
    found = {
        p: method.adapt(DomainOutput(x), target, Update(p)).terms["pseudo_label_loss"] for p in (0.0, 0.1, 0.4, 1.0)
    }
    with torch.no_grad():
        full, _ = pseudo_label_loss(logits, net(x).softmax(1), 0.0)
    assert [float(v) for v in found.values()] == pytest.approx([0, float(full) / 8, float(full) / 2, float(full) / 2])


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_the_teacher_is_the_moving_average(momentum):
    net, method = network(), SelfTraining(teacher_momentum=momentum)
    method.build(net)
    start = net.head[0].weight.detach().clone()
    first, second = start + 1, start * -2
    for value in (first, second):
        with torch.no_grad():
            net.head[0].weight.copy_(value)
        method.after_update(net, Update(0.5))
    m = momentum
    expected = m * (m * start + (1 - m) * first) + (1 - m) * second
    torch.testing.assert_close(method.teacher.head[0].weight, expected)


def test_the_teacher_is_stored_but_not_trained():
    data, model = make(data=BlobPair(batch_size=20), adaptation=SelfTraining(threshold=0.0))
    before = state(model.adaptation.teacher)
    fit(data, model, epochs=2)
    optimised = {id(p) for group in model.optimizers().param_groups for p in group["params"]}
    teacher = model.adaptation.teacher
    assert not optimised & {id(p) for p in teacher.parameters()}
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.training
    assert any(name.startswith("adaptation.teacher.") for name in model.state_dict())
    moved = differing(before, state(teacher))
    # a bias before batch-norm has no effect, and so no gradient
    assert {name for name, _ in teacher.named_parameters() if not name.endswith(".0.bias")} <= moved


class Watched(SelfTraining):
    """Keeps what the teacher and the network see of the target."""

    def target_input(self, x):
        self.plain, self.changed = x.clone(), super().target_input(x)
        return self.changed

    def adapt(self, source, target, update):
        self.of_teacher = target.x
        return super().adapt(source, target, update)


def test_the_teacher_gets_original_images_and_the_network_augmented_ones():
    strong = Augmentation(flip=1.0)
    data, model = make(data=BlobPair(batch_size=20), adaptation=Watched(strong=strong))
    fit(data, model, epochs=1, limit_train_batches=1)
    method = model.adaptation
    torch.testing.assert_close(method.changed, method.plain.flip(3))
    plain = data.spec.normalise(method.plain)
    torch.testing.assert_close(method.of_teacher, plain, atol=1e-5, rtol=1e-5)


def test_with_weight_0_the_weights_are_those_of_source_only():
    runs = []
    for method in (SelfTraining(weight=0.0, batch_norm="separate"), None):
        data, model = make(data=BlobPair(batch_size=20), adaptation=method)
        fit(data, model, epochs=2)
        runs.append(dict(model.network.named_parameters()))
    for name, parameter in runs[1].items():
        assert torch.equal(runs[0][name], parameter), name


def test_a_resumed_run_has_the_same_bits(tmp_path):
    def parts():
        method = SelfTraining(threshold=0.4, teacher_momentum=0.9, strong=Augmentation(flip=0.5))
        return make(data=BlobPair(batch_size=20), adaptation=method, dropout=0.2)

    def checkpoints(name):
        return [pl.callbacks.ModelCheckpoint(tmp_path / name, filename="{epoch}", save_top_k=-1)]

    data, unbroken = parts()
    fit(data, unbroken, epochs=4, callbacks=checkpoints("a"))
    data, resumed = parts()
    torch.manual_seed(99)
    fit(data, resumed, epochs=4, callbacks=checkpoints("b"), ckpt_path=tmp_path / "a" / "epoch=1.ckpt")
    assert differing(state(unbroken), state(resumed)) == set()


def test_it_trains_and_logs_the_share_of_used_samples():
    data, model = make(data=BlobPair(batch_size=20), adaptation=SelfTraining(threshold=0.6, teacher_momentum=0.5))
    rows = []
    model.write = lambda metrics: rows.append(dict(metrics))
    trainer = fit(data, model, epochs=20)
    trainer.test(model, datamodule=data, verbose=False)
    shares = [row["train/used_share"] for row in rows if "train/used_share" in row]
    assert shares[0] < shares[-1] <= 1
    assert model.last_test["test/source/acc"] > 0.9
    assert model.last_test["test/target/acc"] > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.1}, "threshold"),
        ({"teacher_momentum": 1.0}, "teacher_momentum"),
        ({"warmup": 2.0}, "warmup"),
        ({"weight": -1.0}, "weight"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        SelfTraining(**options)


def test_vectors_cannot_be_changed_as_images():
    method = SelfTraining(strong=Augmentation(flip=1.0))
    with pytest.raises(UserError, match=r"domain_adaptation\.strong augments images"):
        method.target_input(torch.zeros(4, 5))
