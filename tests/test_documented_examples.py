"""The examples of the tutorials run as the pages give them; tests/test_readme.py trains that of the README."""

import csv
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program_starts import TL_LAB, Start

from tl_lab.config import catalogue, check, compose
from tl_lab.results.tables.papers import expected_by

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["data.batches_per_epoch=2", "trainer.max_epochs=1", "logger=none", "figures=false"]


def _example(page: str, kind: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(rf"<!-- example: {kind} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    return block


def _run(folder: Path, *argv: str, program: str | None = None) -> Start:
    more = {} if program is None else {"program": program}
    start = Start(*argv, output=folder / "output.txt", cwd=folder, environment={"TL_LAB_OUTPUTS": "outputs"}, **more)
    start.wait()
    return start


# ---------------------------------------------------------------------- docs/add_a_method.md


def test_the_method_trains_in_another_package(tmp_path: Path) -> None:
    conf = tmp_path / "my_lab" / "conf" / "domain_adaptation"
    conf.mkdir(parents=True)
    (tmp_path / "my_lab" / "__init__.py").touch()
    (tmp_path / "my_lab" / "ddc.py").write_text(_example("add_a_method.md", "python"))
    inside, outside = _example("add_a_method.md", "yaml"), _example("add_a_method.md", "outside")
    (conf / "ddc.yaml").write_text(re.sub(r"_target_: .*\n", outside, inside))
    counts = ["data.source_count=200", "data.source_test_count=50", "data.target_test_count=1600"]
    start = _run(
        tmp_path, "--config-dir", "my_lab/conf", "domain_adaptation=ddc", *SMALL, *counts, "health=false",
        "trainer.log_every_n_steps=1", "hydra.run.dir=run",
    )  # fmt: skip
    assert start.returncode == 0, start.printed
    assert "train/mean_distance" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]


# ---------------------------------------------------------------------- docs/reproduce_a_paper.md


def _write_experiment(folder: Path, text: str) -> Path:
    file = folder / "my_lab" / "conf" / "experiment" / "my_paper" / "table_1.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return folder / "my_lab" / "conf"


def test_the_experiment_is_swept_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the folder becomes importable
    conf = _write_experiment(tmp_path, _example("reproduce_a_paper.md", "yaml"))
    with catalogue.using([conf]):
        cfg = compose(["experiment=my_paper/table_1"])
        assert check(cfg) == []
        assert set(expected_by("my_paper/table_1").published) == {"fine_tuning", "feature_extraction"}
    argv = ["experiment=my_paper/table_1", "seed=0", *SMALL, "hydra.sweep.dir=sweep"]
    start = _run(tmp_path, "--config-dir", "my_lab/conf", *argv)
    assert start.returncode == 0, start.printed
    with (tmp_path / "sweep" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["override.strategy"] for row in rows} == {"fine_tuning", "feature_extraction"}
    assert {row["status"] for row in rows} == {"completed"}
    results = json.loads((tmp_path / "sweep" / "0" / "results.json").read_text())
    assert results["choices"]["experiment"] == "my_paper/table_1"


@pytest.mark.parametrize(
    ("swept", "message"),
    [
        ("strategy: fine_tunin", "'strategy=fine_tunin' is not among the choices; did you mean 'fine_tuning'"),
        ("strategy: fine_tuning\n      optimizer.lrr: 1,2", "optimizer has no key 'lrr'; did you mean 'lr'?"),
    ],
)
@pytest.mark.parametrize("overrides", [[], ["seed=1"]])
def test_a_wrong_choice_in_an_experiments_sweep_is_one_sentence(
    tmp_path: Path, swept: str, message: str, overrides: list[str]
) -> None:
    text = _example("reproduce_a_paper.md", "yaml").replace("strategy: fine_tuning,feature_extraction", swept)
    _write_experiment(tmp_path, text)
    folder = ["--config-dir", "my_lab/conf"]
    place = [*folder, "run", "my_paper/table_1", *overrides] if overrides else ["run", "my_paper/table_1", *folder]
    start = _run(tmp_path, "papers", *place, program=TL_LAB)
    assert start.returncode == 1
    printed = start.printed.strip()
    assert printed.startswith(f"tl_lab: experiment=my_paper/table_1, hydra.sweeper.params: {message}")
    assert "\n" not in printed, "nothing is said about storing runs that never began"


# ---------------------------------------------------------------------- docs/continual_learning.md


def test_a_stream_of_own_folders_is_trained(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "continual_learning.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith("    python") and "image_folder" in line)
    words = [word for word in shlex.split(line)[2:] if not word.startswith("backbone=")]
    draw = np.random.default_rng(0)
    for place in ("pets/cat", "pets/dog", "cars/bus", "cars/van"):
        (tmp_path / "photos" / place).mkdir(parents=True)
        for number in range(10):
            pixels = draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / place / f"{number}.png")
    small = ["backbone=lenet", "data.batch_size=8", "figures=false", "logger=none", "trainer.max_epochs=1"]
    start = _run(tmp_path, *words, *small, "hydra.run.dir=run")
    assert start.returncode == 0, start.printed
    with (tmp_path / "run" / "accuracy_matrix.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["after", "before training", "task1", "task2"]
