"""A trained model in three lines: load a run, predict, read labels and confidence."""

import csv
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from tl_lab.adapters import Adapter
from tl_lab.backbones.base import Backbone
from tl_lab.config.catalogue import using
from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import build_node, foreign
from tl_lab.config.stored import read_stored
from tl_lab.config.trust import check_foreign
from tl_lab.data.inputs.decoding import IMAGE_TYPES
from tl_lab.data.inputs.examining import keep_readable, levels_for
from tl_lab.data.inputs.finding import images_below
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.inputs.levels import Levels
from tl_lab.data.inputs.operations import Inputs, count, move, take
from tl_lab.data.inputs.pixels import check_pixels, pixel_values
from tl_lab.data.inputs.spec import InputSpec, spec_from
from tl_lab.data.inputs.vector import VectorSpec
from tl_lab.data.task_outputs import Outputs
from tl_lab.errors import UserError
from tl_lab.model.heads import TaskHead
from tl_lab.model.network import Network
from tl_lab.problems import Prediction, Problem, SingleLabel, restore
from tl_lab.results.folder.files import replacing
from tl_lab.results.folder.predictions import predictions_path
from tl_lab.run.build import build_backbone
from tl_lab.run.checkpoints import checkpoint_of, read_checkpoint
from tl_lab.run.plan import Recipe
from tl_lab.run.weights import inject
from tl_lab.texts import printable

__all__ = ["Predictions", "TrainedModel", "load", "predict_to_csv"]

_THREADS = 2  # that decode images to be predicted


class Predictions(NamedTuple):
    """What a model says of samples.

    Attributes:
        labels: the predictions in words, N of them: names of classes, lists of labels, or numbers.
        confidence: probability of the answer, ``(N,)``, in [0, 1]; None for numbers.
        probabilities: of all classes or labels, ``(N, C)``; None for numbers.
        values: classes ``(N,)``, labels ``(N, L)`` of 0 and 1, or numbers ``(N, K)`` in the targets' units.
    """

    labels: list[str]
    confidence: Tensor | None
    probabilities: Tensor | None
    values: Tensor


class TrainedModel(nn.Module):
    """A run's network together with how its inputs are prepared.

    Args:
        network: backbone, bottleneck and head.
        problem: what it predicts.
        shape: channels, height and width of the data it was trained on; tables of pixel values have this form. ``()``
            where inputs are named tensors.
        reading: how the files were read that it learned from (:attr:`~tl_lab.data.base.DataModule.reading`).
    """

    def __init__(
        self, network: Network, problem: Problem, shape: tuple[int, ...], reading: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.network, self.problem, self.shape = network, problem, tuple(shape)
        self.reading = dict(reading or {})
        self.spec = network.backbone.spec
        self.eval()

    @property
    def class_names(self) -> list[str]:
        """Names of the outputs."""
        return self.problem.output_names

    def forward(self, x: Inputs) -> Tensor:
        """Compute the outputs of the head.

        Args:
            x: images ``(B, C, H, W)``, uint8 in 0..255 or float in [0, 1], of any size and 1 or 3 channels; or what
                else the backbone's spec prepares, such as named tensors.

        Returns:
            Outputs, ``(B, C)``: of classifiers the logits.
        """
        return self.network(self.spec.prepare(x))

    @torch.no_grad()
    def predict(
        self, images: Tensor | np.ndarray | Mapping[str, Tensor] | str | Path, batch_size: int = 256
    ) -> Predictions:
        """Predict.

        Args:
            images: a batch as :meth:`forward` takes it, or a folder of images or a CSV file (:func:`read_inputs`).
            batch_size: images run at once.

        Returns:
            Labels, confidence and probabilities, in the order of the images (in a folder: of their names).
        """
        if isinstance(images, str | Path):
            batches: Iterator[Inputs] = (x for _, x in read_inputs(Path(images), self, batch_size))
        else:
            raw = images if isinstance(images, Mapping) else torch.as_tensor(images)
            if isinstance(raw, Tensor) and self.spec.modality == "image":
                raw = check_pixels(raw)
            batches = _batches(raw, batch_size)
        device = next(self.network.parameters()).device
        answer = self.problem.predict(torch.cat([self(move(batch, device)).cpu() for batch in batches]))
        return Predictions(self.problem.words(answer.values), answer.confidence, answer.probabilities, answer.values)


def load(
    run: str | Path,
    checkpoint: str | None = None,
    task: int | None = None,
    allow: Sequence[str] = (),
    config_dir: str | Path | None = None,
) -> TrainedModel:
    """Load the model of a run.

    Args:
        run: the run's folder.
        checkpoint: ``best`` or ``last``; None for the one that the run tested.
        task: of a stream whose tasks have heads of their own, which one answers, counted from 1.
        allow: names of backbones, beside the project's own, that the folder's configuration may name.
        config_dir: the folder of further choices that the run was made with (``--config-dir``).

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        UserError: the folder holds no run, its files are damaged, or a task is missing, or none of the stream's.
    """
    with using([config_dir]):
        return _load(Path(run), checkpoint, task, allow)


def _load(folder: Path, checkpoint: str | None, task: int | None, allow: Sequence[str]) -> TrainedModel:
    cfg = _stored_config(folder, allow)
    path = checkpoint_of(folder, checkpoint)
    content = read_checkpoint(path)
    facts = content.get("model")
    if facts is None:
        raise UserError(f"{path} does not say what its classes are: it was not written by a run of this program")
    for name, value in (("pretrained", False), ("weights", None)):
        if name in cfg.backbone:
            cfg.backbone[name] = value  # all weights are in the checkpoint
    shape = tuple(facts["shape"])
    outputs = Outputs(facts["outputs"]["scenario"], tuple(facts["outputs"]["sizes"])) if "outputs" in facts else None
    problem = _problem_of(folder, facts, outputs, task)
    with foreign(folder / "config.yaml", allow):
        backbone = build_backbone(Recipe("backbone", to_plain(cfg.backbone)), cfg.seed, shape)
        adapter: Adapter = build_node(cfg.adapter)
        backbone = inject(adapter, cfg.seed, backbone)
    network = Network(
        backbone,
        len(facts["class_names"]),
        cfg.strategy.get("bottleneck"),
        blocks=None if outputs is None else outputs.blocks,
        **_head_options(cfg, folder),
    )
    prefix = "network."
    weights = {n.removeprefix(prefix): t for n, t in content["state_dict"].items() if n.startswith(prefix)}
    if any(name.startswith("target_encoder.") for name in weights):
        network.separate_encoders()
    if any(".target_running_" in name for name in weights):
        network.separate_statistics()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{path} does not fit {folder / 'config.yaml'}: {str(error).splitlines()[-1].strip()}"
        ) from error
    network.use("target")  # the domain that the model was adapted to, where domains have parts of their own
    # what the data were brought to when the model learned, which a pretrained backbone may have decided
    network.backbone.spec = _spec(facts, network.backbone)
    if isinstance(network.head, TaskHead) and task is not None:
        network.head.active = (task - 1,)
    return TrainedModel(network, problem, shape, facts.get("reading"))


def _problem_of(folder: Path, facts: dict[str, Any], outputs: Outputs | None, task: int | None) -> Problem:
    """Build what the outputs that answer predict; runs of the first version predict one class of several."""
    names = _names_of(folder, facts, outputs, task)
    state = facts.get("problem", {"name": SingleLabel.name})
    try:
        return restore({**state, "output_names": names})
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"the checkpoint of {folder} does not say what the model predicts ({error}): it is damaged"
        ) from error


def _head_options(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Read the head's options, which are numbers: nothing is built from them."""
    options = dict(cast(dict[str, Any], OmegaConf.to_container(cfg.strategy.get("head") or OmegaConf.create({}))))
    hidden, dropout = options.get("hidden", []), options.get("dropout", 0.0)
    numbers = isinstance(hidden, list) and all(isinstance(one, int | float) for one in [dropout, *hidden])
    if options.keys() - {"hidden", "dropout"} or not numbers:
        raise UserError(f"{folder / 'config.yaml'}: strategy.head holds hidden and dropout only, not {options}")
    return options


def _names_of(folder: Path, facts: dict[str, Any], outputs: Outputs | None, task: int | None) -> list[str]:
    """Name the outputs that answer; a stream's may be those of one task."""
    names = list(facts["class_names"])
    if facts.get("episodes"):
        raise UserError(
            f"{folder} learned from episodes, and has no classes of its own: it classifies what an episode shows it"
        )
    if facts.get("scrambled"):
        raise UserError(f"{folder} learned images whose pixels were permuted: it cannot label images as they are")
    if outputs is None or outputs.scenario != "task":
        if task is not None:
            raise UserError(f"{folder} has no head for each task, of which task={task} could be one: leave it out")
        return names
    if task is None or not 1 <= task <= outputs.num_tasks:
        said = "" if task is None else f", not {task}"
        raise UserError(
            f"{folder} learned {outputs.num_tasks} tasks with a head each: say whose classes are meant, "
            f"task=1 to {outputs.num_tasks}{said}"
        )
    return names[outputs.offset(task - 1) :][: outputs.sizes[task - 1]]


def predict_to_csv(
    run: str | Path,
    inputs: str | Path,
    output: str | Path | None = None,
    checkpoint: str | None = None,
    skip_unreadable: bool = False,
    task: int | None = None,
    allow: Sequence[str] = (),
) -> Path:
    """Write labels and confidence for a folder of images or a table.

    Args:
        run: the run's folder.
        inputs: a folder of images (searched through), or a CSV file (see :func:`read_inputs`).
        output: the CSV file to write; None for ``<run>/predictions/<name of inputs>.csv`` (see
            :func:`~tl_lab.results.folder.predictions.predictions_path`).
        checkpoint: ``best`` or ``last``; None for the one that the run tested.
        skip_unreadable: leave images out that cannot be read, and name them in a warning, instead of stopping.
        task: see :func:`load`.
        allow: see :func:`load`.

    Returns:
        The file: a column ``input``, and those of the problem: ``label`` and ``confidence``, of several labels the
        probability of each, or a column a predicted quantity.

    Raises:
        UserError: there is nothing to predict, or a file cannot be read or written.
    """
    model = load(run, checkpoint, task, allow)
    path = Path(output) if output else predictions_path(run, inputs)
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        for number, (names, x) in enumerate(read_inputs(Path(inputs), model, skip_unreadable=skip_unreadable)):
            answer = model.predict(x)
            columns = model.problem.columns(Prediction(answer.values, answer.confidence, answer.probabilities))
            if number == 0:
                # a label may have any name
                table.writerow(["input" if "input" not in columns else "input file", *columns])
            table.writerows(zip(names, *columns.values(), strict=True))
    return path


def read_inputs(
    path: Path, model: TrainedModel, batch_size: int = 256, skip_unreadable: bool = False
) -> Iterator[tuple[list[str], Tensor]]:
    """Read what is to be predicted, in batches.

    Args:
        path: a folder, whose images are taken in the order of their names, sub-folders included; or a CSV file
            with a column ``path`` (relative to the file), or with one column a pixel value, row by row, in 0..255;
            for a model of vectors one column a value, as it learned them.
        model: tells the shape of its inputs.
        batch_size: samples in a batch.
        skip_unreadable: leave images out that cannot be read, instead of stopping.

    Yields:
        Names and images, ``(B, channels, height, width)``, or vectors, ``(B, D)``.

    Raises:
        UserError: there is nothing of the kind, an image cannot be read, or a row has the wrong number of values.
    """
    if model.spec.modality not in ("image", "vector"):
        raise UserError(f"{path} cannot be read for a model of {model.spec.modality} inputs: give it batches in Python")
    channels, height, width = model.shape
    vectors = (height, width) == (1, 1)
    if vectors and path.is_dir():
        raise UserError(f"{path} is a folder, and the model takes vectors: give a CSV file of {channels} columns")
    if path.is_dir():
        names = images_below(path)
        if not names:
            raise UserError(f"{path} holds no images ({', '.join(sorted(IMAGE_TYPES))})")
        yield from _read_images(ImageFiles(path, names), model, batch_size, skip_unreadable)
        return
    if not path.is_file():
        raise UserError(f"there is no folder or file {path} to predict")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise UserError(f"{path} has no rows below its header")
    if "path" in rows[0] and not vectors:
        yield from _read_images(
            ImageFiles(path.parent, [row["path"] for row in rows]), model, batch_size, skip_unreadable
        )
        return
    if vectors and len(rows[0]) != channels:
        raise UserError(f"{path} has {len(rows[0])} columns; give the {channels} values of each vector")
    if len(rows[0]) != channels * height * width:
        raise UserError(
            f"{path} has {len(rows[0])} columns; give a column 'path' with images, or the "
            f"{channels}x{height}x{width} = {channels * height * width} values of each image"
        )
    try:
        values = torch.tensor([[float(value) for value in row.values()] for row in rows])
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} holds something that is not a number: {error}") from error
    if not bool(values.isfinite().all()):
        raise UserError(f"{path} holds NaN or infinity in row {int((~values.isfinite()).any(1).nonzero()[0, 0]) + 1}")
    for start in range(0, len(values), batch_size):
        part = values[start : start + batch_size]
        names = [str(start + i) for i in range(len(part))]
        yield names, part if vectors else pixel_values(part.view(-1, channels, height, width), str(path), start)


def _read_images(
    files: ImageFiles, model: TrainedModel, batch_size: int, skip_unreadable: bool
) -> Iterator[tuple[list[str], Tensor]]:
    """Decode images as training does, once all of them were looked at."""
    unreadable = "skip" if skip_unreadable else "stop"
    known = Levels.from_state(model.reading.get("levels", {}))
    skip = "skip such images (--skip-unreadable)"
    files, _, left_out = keep_readable(files, None, unreadable, _THREADS, skip=skip, known=known)
    if left_out:
        warnings.warn(left_out, stacklevel=2)
    files = files.with_levels(levels_for([files], known, files.root))
    for start in range(0, len(files), batch_size):
        part = files.subset(torch.arange(start, min(start + batch_size, len(files))))
        yield [printable(name) for name in part.names], part.load_all(cast(ImageSpec, model.spec), _THREADS)


def _stored_config(folder: Path, allow: Sequence[str]) -> DictConfig:
    checkpoint_of(folder)  # says what is wrong with the folder
    path = folder / "config.yaml"
    cfg = read_stored(folder)
    check_foreign({"backbone": cfg.backbone, "adapter": cfg.adapter}, path, allow)
    return cfg


def _spec(facts: Mapping[str, Any], backbone: Backbone) -> InputSpec:
    """Read the input that the model learned."""
    if "spec" in facts:
        known = backbone.spec.modality == facts["spec"]["modality"]  # a spec may come with an outside backbone
        return backbone.spec.from_state(facts["spec"]) if known else spec_from(facts["spec"])
    old = facts["preprocessing"]  # as the first version kept it, for images and vectors alike
    return VectorSpec(old["channels"]) if tuple(old["size"]) == (1, 1) else ImageSpec.from_state(old)


def _batches(inputs: Inputs, size: int) -> Iterator[Inputs]:
    return (take(inputs, slice(start, start + size)) for start in range(0, count(inputs), size))
