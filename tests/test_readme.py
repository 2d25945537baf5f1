"""The README is up to date: its tables are generated, and its example runs."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from tl_lab.cli.train import main
from tl_lab.config import comparison_key, compose
from tl_lab.results.folder.references import STORED

ROOT = Path(__file__).resolve().parent.parent


def test_generated_tables_are_up_to_date(monkeypatch, capsys):
    tables = runpy.run_path(str(ROOT / "docs" / "tables.py"))
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables["main"]() == 0, capsys.readouterr().out


def example(kind: str) -> str:
    blocks = re.findall(rf"<!-- example: {kind} -->\n```{kind}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def test_the_main_job_finds_its_source_only_reference():
    stored = json.loads(STORED.read_text())
    assert comparison_key(compose([])) in stored
    assert comparison_key(compose(["domain_adaptation=none", "seed=3"])) in stored
    assert comparison_key(compose(["optimizer.lr=0.5"])) not in stored


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_the_example_method_trains(tmp_path, monkeypatch):
    code, config = example("python"), example("yaml")
    assert len(code.splitlines()) + len(config.splitlines()) < 20
    package = tmp_path / "my_lab"
    choices = package / "conf" / "domain_adaptation"
    choices.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "ddc.py").write_text(code)
    (choices / "ddc.yaml").write_text(config)
    monkeypatch.setattr(sys, "path", list(sys.path))
    small = [
        "data.source_count=200",
        "data.source_test_count=50",
        "data.target_test_count=1600",
        "trainer.max_epochs=1",
    ]
    short = ["data.batches_per_epoch=3", "trainer.log_every_n_steps=1", "logger=none", "figures=false"]
    main(
        [
            "--config-dir",
            str(package / "conf"),
            "domain_adaptation=ddc",
            *small,
            *short,
            f"hydra.run.dir={tmp_path / 'run'}",
        ]
    )
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "completed"
    assert "train/mean_distance" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]


def test_links_lead_to_files_and_headings_of_the_repository():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("examples/*.md")]
    found = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
    links = [(page, link) for page in pages for link in found.findall(page.read_text(encoding="utf-8"))]
    assert len(links) > 150
    wrong = []
    for page, link in links:
        place, _, heading = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        known = target.exists() and (not heading or heading in _anchors(target))
        wrong += [] if known else [f"{page.name}: {link}"]
    assert wrong == []


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_stored_results_name_no_place_of_a_machine():
    portable = runpy.run_path(str(ROOT / "benchmarks" / "portable.py"))["portable"]
    messages = [
        "looked for /home/me/data/omniglot-py/images.zip (the folder)",
        "and/or, 1/2, docs/results/gpu.json, {'a': '/x/y'}",
    ]
    assert portable({"a": messages}) == {
        "a": ["looked for .../images.zip (the folder)", "and/or, 1/2, docs/results/gpu.json, {'a': '.../y'}"]
    }
    files = [file for file in (ROOT / "docs" / "results").rglob("*") if file.suffix in (".json", ".csv")]
    assert len(files) > 20
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    assert [name for name, text in texts.items() if portable(text) != text] == []
