"""SimpleShot's nearest class mean, against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from episodes_at_hand import episode, make
from sklearn.neighbors import NearestCentroid as Reference

from tl_lab.errors import UserError
from tl_lab.strategies.few_shot.nearest_centroid import TRANSFORMS, NearestCentroid


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_predictions_are_scikit_learns(transform):
    strategy, batch = make(NearestCentroid, trainable="none", transform=transform).eval(), episode(3)
    mean = torch.linspace(-0.5, 0.5, 8).double()
    strategy.base_mean = mean
    found = strategy.test_logits(batch).argmax(2)

    def transformed(x: torch.Tensor) -> np.ndarray:
        features = strategy.network.features(x).detach().numpy() - (mean.numpy() if transform == "centred_l2" else 0)
        return features if transform == "none" else features / np.linalg.norm(features, axis=1, keepdims=True)

    for e in range(3):
        reference = Reference().fit(transformed(batch.support.x[e]), batch.support.y[e])
        assert reference.predict(transformed(batch.query.x[e])).tolist() == found[e].tolist()


def test_it_trains_nothing():
    assert not NearestCentroid.trains
    strategy = make(NearestCentroid, trainable="none")
    assert strategy.learned_parameters() == []


@pytest.mark.parametrize(("options", "message"), [({"transform": "l1"}, "'l1'"), ({"bottleneck": 4}, "bottleneck")])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make(NearestCentroid, **options)
