"""The figures of a test: the sets they name, and the order of their labels."""

from types import SimpleNamespace

import torch

from tl_lab.evaluation.multi_label import MultiLabelMeter
from tl_lab.problems import MultiLabel
from tl_lab.training.figures import figures_of_sets


def test_the_figures_of_labels_agree_on_their_order_and_name_their_set() -> None:
    draw = torch.Generator().manual_seed(0)
    y = (torch.rand(200, 3, generator=draw) < torch.tensor([0.2, 0.5, 0.3])).float()
    noise = torch.rand(200, 3, generator=draw) * torch.tensor([6.0, 3.0, 0.1])  # the third is ranked best
    meter = MultiLabelMeter(torch.full((3,), 0.5, dtype=torch.double))
    meter.update(2 * y - 1 + noise, y)
    meter.compute()
    names = ["first", "second", "third"]
    data = SimpleNamespace(test_names=["target/test"], class_names=names, problem=MultiLabel(names))
    figures = figures_of_sets(SimpleNamespace(meters={"target/test": meter}), data)
    assert set(figures) == {"labels_target_test", "label_errors_target_test", "labels_together_target_test"}
    for name, figure in figures.items():
        names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
        assert names == ["third", "second", "first"], name
        title = figure.get_suptitle() or figure.axes[0].get_title() or figure.axes[0].get_title(loc="left")
        assert "test set of the target" in title
