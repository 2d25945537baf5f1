"""docs/outputs.md lists the files and figures that the code writes."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
OF_RUNS = [*(ROOT / "tl_lab" / "run").glob("*.py"), *(ROOT / "tl_lab" / "training").glob("*.py")]
OF_RUNS += (ROOT / "tl_lab" / "strategies").rglob("*.py")
OF_LITERALS = ("learning_curves", "confusion_<set>", "labels_<set>", "label_errors_<set>", "labels_together_<set>")
OF_LITERALS += ("predictions_<set>", "domain_embedding", "accuracy_matrix", "beside")


def test_every_figure_of_a_run_is_listed() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in OF_RUNS)
    plain = set(re.findall(r'figures\["([a-z_]+)"\] = ', source))
    of_sets = set(re.findall(r'figures\[f"([a-z_]+)_\{', source))
    assert len(plain) > 5
    assert len(of_sets) > 5
    names = [*plain, *(f"{name}_<set>" for name in of_sets), *OF_LITERALS]
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_files_of_the_commands_are_listed() -> None:
    for name in ("drift/", "export/<format>/", "model_card.md", "model_card.html", "test_intervals.json"):
        assert f"`{name}`" in PAGE
