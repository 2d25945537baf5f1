"""A whole training of the shallow DANN against algorithm 1 of Ganin et al., JMLR 17 (2016), in plain numpy.

The paper's network: G_f(x) = sigm(b + W x), G_y(h) = softmax(c + V h), G_d(h) = sigm(d + u'h); one sample of each
domain at a time; every parameter ascends or descends the same objective, with lambda on the domain loss for all.

How our terms relate to the paper's: with one sample of each domain our `sum` of per-domain means is the paper's sum of
two cross-entropies, so that lambda_max (at gamma=null) is its lambda; our `mean` is half of it and needs twice the
lambda. The paper's G_d tells the probability of the source and climbs the log-likelihood, ours that of the target
and descends the loss: u and d are the negatives of our weights.
"""

import functools

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from tl_lab.backbones.mlp import MLP
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.model.layer_policy import LayerPolicy
from tl_lab.problems import SingleLabel
from tl_lab.strategies.from_scratch import FromScratch
from tl_lab.training.schedules import Constant

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

D, HIDDEN, CLASSES, RATE, LAMBDA = 4, 7, 3, 0.1, 0.31
EPOCHS = 3  # of 20 source samples: 60 updates


class Vectors(DomainPair):
    """Vectors of three classes, those of the target moved and turned."""

    def read(self):
        self.class_names = ["a", "b", "c"]
        draw = torch.Generator().manual_seed(3)
        centres = 2 * torch.randn(CLASSES, D, generator=draw)
        sets = {}
        for name, count in {"source/train": 20, "source/val": 9, "source/test": 9, "target/train": 15}.items():
            y = torch.arange(count) % CLASSES
            x = centres[y] + torch.randn(count, D, generator=draw)
            sets[name] = Samples(x.flip(1) + 0.5 if name.startswith("target") else x, y)
        return sets


def sigm(z):
    return 1 / (1 + np.exp(-z))


def algorithm_1(start, steps, lambda_features, lambda_regressor):
    """Train by the paper's updates; with lambda on the loss both lambdas are the paper's one."""
    W, b, V, c, u, d = (start[name].copy() for name in ("W", "b", "V", "c", "u", "d"))
    for x_i, y_i, x_j in steps:
        h_i = sigm(b + W @ x_i)
        scores = np.exp(c + V @ h_i)
        e = np.eye(CLASSES)[y_i]
        delta_c = -(e - scores / scores.sum())
        delta_V = np.outer(delta_c, h_i)
        delta_b = (V.T @ delta_c) * h_i * (1 - h_i)
        delta_W = np.outer(delta_b, x_i)

        error_i = 1 - sigm(d + u @ h_i)  # the current domain: the source
        delta_d = lambda_regressor * error_i
        delta_u = lambda_regressor * error_i * h_i
        tmp = lambda_features * error_i * u * h_i * (1 - h_i)
        delta_b = delta_b + tmp
        delta_W = delta_W + np.outer(tmp, x_i)

        h_j = sigm(b + W @ x_j)  # the other domain: the target
        error_j = sigm(d + u @ h_j)
        delta_d = delta_d - lambda_regressor * error_j
        delta_u = delta_u - lambda_regressor * error_j * h_j
        tmp = -lambda_features * error_j * u * h_j * (1 - h_j)
        delta_b = delta_b + tmp
        delta_W = delta_W + np.outer(tmp, x_j)

        W, V, b, c = W - RATE * delta_W, V - RATE * delta_V, b - RATE * delta_b, c - RATE * delta_c
        u, d = u + RATE * delta_u, d + RATE * delta_d
    return {"W": W, "b": b, "V": V, "c": c, "u": u, "d": d}


def papers_parameters(model):
    """Return copies of the network's parameters under the paper's names."""
    layer, head, discriminator = model.network.backbone.layers[0][0], model.network.head[0], model.adaptation
    regressor = discriminator.discriminator[0]
    tensors = {
        "W": layer.weight,
        "b": layer.bias,
        "V": head.weight,
        "c": head.bias,
        "u": -regressor.weight[0],
        "d": -regressor.bias[0],
    }
    return {name: tensor.detach().double().numpy().copy() for name, tensor in tensors.items()}


def steps_of(data):
    """List the samples of each update, one of each domain, in double precision."""
    found = []
    for epoch in range(EPOCHS):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        found += [(b.source.x[0].double().numpy(), int(b.source.y), b.target.x[0].double().numpy()) for b in loader]
    return found


def train(**options):
    data = Vectors(batch_size=1, seed=0)
    data.load(Request(adapts=True))
    backbone = MLP(hidden=[HIDDEN], activation="sigmoid", in_channels=D, input_size=(1, 1))
    data.use(backbone.spec)
    model = FromScratch(
        backbone=backbone,
        adaptation=DANN(gamma=None, hidden=(), **options),
        problem=SingleLabel([str(c) for c in range(CLASSES)]),
        optimizer=functools.partial(torch.optim.SGD, lr=RATE),
        scheduler=Constant(),
        layers=LayerPolicy(),
    )
    start = papers_parameters(model)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=EPOCHS,
        precision="64-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data)
    assert model.updates_done == 60
    return start, steps_of(data), papers_parameters(model)


@pytest.mark.parametrize(
    ("options", "lambda_features", "lambda_regressor"),
    [
        ({"lambda_on": "loss", "lambda_max": LAMBDA, "reduction": "sum"}, LAMBDA, LAMBDA),  # algorithm 1
        ({"lambda_on": "loss", "lambda_max": 2 * LAMBDA, "reduction": "mean"}, LAMBDA, LAMBDA),
        ({"lambda_on": "loss", "lambda_max": 1.0, "weight": LAMBDA}, LAMBDA, LAMBDA),
        ({"lambda_on": "features", "lambda_max": LAMBDA}, LAMBDA, 1.0),  # section 4.2: the regressor at full rate
    ],
)
def test_sixty_updates_equal_the_papers(options, lambda_features, lambda_regressor):
    start, steps, ours = train(**options)
    assert len(steps) == 60
    papers = algorithm_1(start, steps, lambda_features, lambda_regressor)
    for name, value in papers.items():
        assert np.abs(value - start[name]).max() > 1e-3, f"{name} has not learned"
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-12, err_msg=name)


def test_a_wrong_lambda_would_be_noticed():
    start, steps, ours = train(lambda_on="loss", lambda_max=LAMBDA)
    for wrong in ((LAMBDA, 1.0), (0.0, LAMBDA), (-LAMBDA, LAMBDA), (2 * LAMBDA, 2 * LAMBDA)):
        assert np.abs(algorithm_1(start, steps, *wrong)["W"] - ours["W"]).max() > 1e-3
