"""SetFit: the draw of pairs, their loss, and the fitted head."""

import numpy as np
import pytest
import torch
from laboratory import Blobs, fit, make
from sklearn.linear_model import LogisticRegression

from tl_lab.errors import UserError
from tl_lab.strategies.setfit import SetFit, draw_partners, pair_loss


def test_partners_are_of_the_same_class_and_of_another_and_all_are_drawn() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    index = torch.tensor([0, 3, 5])
    draw = torch.Generator().manual_seed(0)
    seen: dict[int, tuple[set[int], set[int]]] = {i: (set(), set()) for i in index.tolist()}
    for _ in range(100):
        same, other = draw_partners(index, labels, draw)
        for i, *partners in torch.stack([index, same, other], 1).tolist():
            for known, partner in zip(seen[i], partners, strict=True):
                known.add(partner)
    assert seen == {0: ({1, 2}, {3, 4, 5}), 3: ({4}, {0, 1, 2, 5}), 5: ({5}, {0, 1, 2, 3, 4})}  # a class of one


def test_the_loss_of_pairs_has_its_closed_form() -> None:
    left = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 2.0]])
    right = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])  # cosines 1, 0, -1
    alike = torch.tensor([False, True, True])
    assert pair_loss(left, right, alike).item() == pytest.approx((1 + 1 + 4) / 3)
    assert pair_loss(left, right, ~alike).item() == pytest.approx((0 + 0 + 1) / 3)


def test_pairs_bring_classes_together_and_the_head_is_a_logistic_regression() -> None:
    data = Blobs(batch_size=20)
    data, model = make(SetFit, data=data)[:2]
    losses = []
    step = model.note
    model.note = lambda quantities: (losses.append(float(quantities["pair_loss"].detach())), step(quantities))
    fit(data, model, epochs=8)
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    features = model.reader(data).backbone_features("train").double().numpy()
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(features, data.training_labels.numpy())
    (head,) = model.network.head.children()
    np.testing.assert_allclose(head.weight.detach().numpy(), fitted.coef_, rtol=1e-4, atol=1e-5)
    outputs = model(data.sets["test"].x).argmax(1)
    assert (outputs == data.sets["test"].y).float().mean() > 0.8


def test_other_heads_are_refused() -> None:
    with pytest.raises(UserError, match=r"strategy\.bottleneck=null"):
        make(SetFit, bottleneck=4)
