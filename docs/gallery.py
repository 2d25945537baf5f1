"""Make the pictures of docs/gallery.md, and the page itself, by running the commands that it shows.

    uv run python docs/gallery.py                    # everything: about fifteen minutes on one idle core
    uv run python docs/gallery.py stream episode     # some of the runs
    uv run python docs/gallery.py --page             # the page alone
    uv run python docs/gallery.py stream=<folder>    # from a finished run of the command that the page shows

Runs go to a temporary folder; pictures are reduced and go to docs/images/gallery. Some commands need TL_LAB_DATA.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from PIL import Image

PAGE = Path(__file__).parent / "gallery.md"
PICTURES = Path(__file__).parent / "images" / "gallery"
LARGEST = 60_000  # bytes of a picture


class Shown(NamedTuple):
    """A picture of a run.

    Attributes:
        name: of the picture, unlike any other.
        file: in the folder of figures, without ending; for an assessment, the part and the number of its figure.
        says: description, in a sentence or two.
    """

    name: str
    file: str
    says: str


class Run(NamedTuple):
    """A command and its pictures.

    Attributes:
        title: of its section.
        command: arguments of ``python``.
        pictures: in their order.
        runs: overrides of the runs whose folders are arguments of ``command``, if it takes folders.
    """

    title: str
    command: str
    pictures: tuple[Shown, ...]
    runs: tuple[str, ...] = ()


RUNS = {
    "adaptation": Run(
        "A run on two domains",
        "train.py",
        (
            Shown(
                "learning_curves",
                "learning_curves",
                "Losses, accuracies, label-free scores, gradients and schedules over the updates.",
            ),
            Shown(
                "confusion",
                "confusion_target_test",
                "The confusion matrix of the target's test set: counts, coloured by their share of the true class.",
            ),
            Shown(
                "selection",
                "selection",
                "The test accuracy on the target over the epochs, and the epoch that each validator chooses. Target "
                "labels are used only for the curve and the oracle.",
            ),
        ),
    ),
    "beside": Run(
        "Features before and after adaptation",
        "-m tl_lab figures --beside <run> <run>",
        (
            Shown(
                "beside",
                "beside",
                "Features of source and target by t-SNE, coloured by class (top) and by domain (bottom). Both runs are "
                "projected together, so positions can be compared. The first run has `domain_adaptation=none`.",
            ),
        ),
        ("domain_adaptation=none", ""),
    ),
    "stream": Run(
        "A stream of tasks",
        "train.py data=split_digits strategy=ewc",
        (
            Shown(
                "accuracy_matrix", "accuracy_matrix", "The test accuracy on each task (columns) after each task (rows)."
            ),
            Shown(
                "task_accuracies",
                "task_accuracies",
                "The same numbers as curves. EWC forgets earlier tasks in class-incremental streams such as this one.",
            ),
        ),
    ),
    "episode": Run(
        "Few-shot learning",
        "train.py strategy=prototypical trainer.max_epochs=1",
        (
            Shown(
                "episode",
                "episode_test",
                "One test episode: a support image and five queries for each of five classes. The frame of a query has "
                "the colour of the predicted class.",
            ),
        ),
    ),
    "labels": Run(
        "Several labels",
        "train.py data=digits_properties trainer.max_epochs=3",
        (
            Shown(
                "label_errors", "label_errors_test", "Samples with each label that are found, missed, or false alarms."
            ),
            Shown(
                "labels_together",
                "labels_together_test",
                "Co-occurrence of labels, true and predicted: the percentage of samples with the row's label that also "
                "have the column's.",
            ),
        ),
    ),
    "regression": Run(
        "Regression",
        "train.py data=digits_value trainer.max_epochs=3",
        (
            Shown(
                "regression",
                "predictions_test",
                "Predictions against true values, and the residuals with their median and middle 80 %.",
            ),
        ),
    ),
    "sweep": Run(
        "A sweep over seeds",
        "train.py -m data=split_digits strategy=naive,ewc,replay seed=0,1,2 trainer.max_epochs=3",
        (
            Shown(
                "settings",
                "settings",
                "Test accuracy after the whole stream, over all tasks and on the first two: means with 95 % intervals, "
                "and single seeds as dots.",
            ),
            Shown(
                "curves",
                "curves",
                "Learning curves with a band of one standard deviation over the seeds. The loss rises whenever one of "
                "the five tasks begins.",
            ),
        ),
    ),
    "films": Run(
        "Medical images",
        "train.py data=pneumonia_xray backbone=conv4 trainer.max_epochs=2",
        (
            Shown(
                "activation_maps",
                "activation_maps_test",
                "Eight test images and their Grad-CAM maps: the regions that the predicted class depends on.",
            ),
        ),
    ),
    "recordings": Run(
        "Recordings",
        "train.py data=spoken_digits trainer.max_epochs=3",
        (
            Shown(
                "spectrograms",
                "spectrograms_test",
                "Log-mel spectrograms of test recordings, the inputs of the network, with the predicted classes.",
            ),
        ),
    ),
    "documents": Run(
        "Documents",
        "train.py data=receipts backbone=layout_text backbone.small=true backbone.pretrained=false data.labels=200 "
        "strategy.layers.backbone_lr=1.0 trainer.max_epochs=10",
        (
            Shown(
                "pages",
                "pages_test",
                "Three test receipts. Boxes are filled in the colour of the predicted field and framed in that of the "
                "true one.",
            ),
        ),
    ),
    "calibration": Run(
        "Assessment: can the result be trusted?",
        "-m tl_lab assess data=printed_to_handwritten backbone=lenet assess=calibration",
        (
            Shown(
                "reliability",
                "calibration_0",
                "Accuracy against confidence on the test sets of both domains. The target's predictions are less "
                "accurate than their confidence suggests.",
            ),
            Shown(
                "selective",
                "calibration_1",
                "Error rate among the most confident predictions, by the share of samples that are classified.",
            ),
        ),
    ),
}


def page() -> str:
    """Write the page from the list of runs."""
    lines = ["# Gallery", "", "This page shows figures of runs, sweeps and assessments, each with its command.", ""]
    lines += [
        "The figures of a run are in `figures/` of its folder, those of a sweep or an assessment also in its page. The",
        "runs here are small: the figures illustrate the output, not results. `python docs/gallery.py` repeats them.",
        "",
    ]
    for run in RUNS.values():
        lines += [f"## {run.title}", "", f"    python {run.command}", ""]
        for shown in run.pictures:
            lines += [f"![{shown.says}](images/gallery/{shown.name}.png)", "", f"*{shown.says}*", ""]
    return "\n".join(lines)


def make(name: str, work: Path, finished: Path | None = None) -> None:
    """Execute a run and store its pictures.

    Args:
        name: key of :data:`RUNS`.
        work: an empty folder.
        finished: folder of an earlier run of the same command; the last one of several.

    Raises:
        SystemExit: the command failed, or the finished run is of another command.
    """
    run = RUNS[name]
    words = shlex.split(run.command)
    if words[:3] == ["-m", "tl_lab", "assess"]:
        _forked(lambda: _assess(words[3:], work), run.command)
        finished = work
    elif finished is not None:
        _check(run, finished)
    elif run.runs:
        folders = [work / str(k) for k in range(len(run.runs))]
        for folder, overrides in zip(folders, run.runs, strict=True):
            _started("train", *overrides.split(), f"hydra.run.dir={folder}")
        _started("figures", "--beside", *map(str, folders))
        finished = folders[-1]
    else:
        finished = work
        _started("train", *words[1:], f"hydra.{'sweep' if '-m' in words else 'run'}.dir={work}")
    _keep(run, {shown.name: finished / "figures" / f"{shown.file}.png" for shown in run.pictures})


def _check(run: Run, folder: Path) -> None:
    """Refuse the folder of a run with other overrides."""
    wanted = run.runs[-1].split() if run.runs else shlex.split(run.command)[1:]
    given = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    if sorted(wanted) != sorted(given):
        raise SystemExit(f"{folder} is a run of {given}, not of {wanted}")


def _keep(run: Run, figures: Mapping[str, Path]) -> None:
    for shown in run.pictures:
        size = reduce(figures[shown.name], PICTURES / f"{shown.name}.png")
        print(f"{shown.name}: {size:,} bytes", flush=True)


def _assess(overrides: Sequence[str], work: Path) -> None:
    """Assess, and save the figures of the page as files."""
    from tl_lab.assess.running import carry_out
    from tl_lab.results.figures.drawing import save_figures

    parts = carry_out(overrides, work)[0].parts
    figures = {
        f"{name}_{place}": figure
        for name, part in parts.items()
        for place, figure in enumerate(getattr(part, "figures", {}).values())
    }
    save_figures(figures, work / "figures")


def _started(*argv: str) -> None:
    """Run the program in a forked process, which shares the imports of this one."""
    from tl_lab.cli.main import main as program

    _forked(lambda: program(argv), " ".join(argv))


def _forked(work: Callable[[], None], title: str) -> None:
    """Call a function in a forked process, and stop if it fails."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        finally:
            sys.stdout.flush()
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"{title} failed")


def reduce(figure: Path, picture: Path) -> int:
    """Write a figure, reduced in size and colours until it is small enough, and return its size in bytes."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(figure) as image:
        whole = image.convert("RGB")
    for width, colours in ((1000, 128), (1000, 64), (850, 64), (700, 64), (600, 32)):
        reduced = whole.copy()
        reduced.thumbnail((width, 2 * width), Image.Resampling.LANCZOS)
        reduced.quantize(colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(picture, optimize=True)
        if picture.stat().st_size <= LARGEST:
            break
    return picture.stat().st_size


def main(argv: Sequence[str] | None = None) -> None:
    """Make the requested pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="names of runs, or name=<folder of the finished run>; none: all")
    parser.add_argument("--page", action="store_true", help="write the page and run nothing")
    given = parser.parse_args(argv)
    asked = dict(text.partition("=")[::2] for text in given.runs or RUNS)
    if unknown := asked.keys() - RUNS.keys():
        parser.error(f"no run is called {sorted(unknown)[0]!r}; there are {', '.join(RUNS)}")
    if not given.page:
        if not all(asked.values()):
            import tl_lab.run.experiment  # noqa: F401  (takes seconds, hence before the forks)
        with tempfile.TemporaryDirectory() as work:
            for name, folder in asked.items():
                (Path(work) / name).mkdir()
                make(name, Path(work) / name, Path(folder) if folder else None)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
