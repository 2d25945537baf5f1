"""Inference with a trained model: load a run, predict, read labels and confidence."""

import csv
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from tl_lab.adapters import Adapter
from tl_lab.adapters.of_each_task import OfEachTask
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.word_vectors import StoredTable
from tl_lab.config.catalogue import using
from tl_lab.config.identity import difference_from_recorded, to_plain
from tl_lab.config.instantiate import build_node, class_of, foreign
from tl_lab.config.stored import read_stored
from tl_lab.config.trust import check_foreign
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.operations import Inputs, move
from tl_lab.data.inputs.spec import InputSpec, spec_from
from tl_lab.data.inputs.table import TableSpec
from tl_lab.data.inputs.tokenisers import Words
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.inputs.vector import VectorSpec
from tl_lab.data.task_outputs import Outputs
from tl_lab.domain_adaptation.none import NoAdaptation
from tl_lab.errors import UserError
from tl_lab.model.base_weights import filled_up, hash_of
from tl_lab.model.heads import GroupedHead, TaskHead, UnitLength
from tl_lab.model.network import Network
from tl_lab.problems import Prediction, Problem, SingleLabel, restore
from tl_lab.problems.metrics import PACKAGED
from tl_lab.results.folder.files import not_completed, read_results, replacing
from tl_lab.results.folder.predictions import predictions_path
from tl_lab.run.build import build_backbone
from tl_lab.run.checkpoints import checkpoint_of, read_checkpoint
from tl_lab.run.given import Given, Named, read_given
from tl_lab.run.kept_columns import kept_columns
from tl_lab.run.plan import Recipe
from tl_lab.run.weights import inject
from tl_lab.texts import no_formula
from tl_lab.training.feature_reader import one_vector_each
from tl_lab.training.schedules import Constant

if TYPE_CHECKING:
    from tl_lab.run.support import Answers, FewShotModel, GivenSupport, Supported

__all__ = ["Predictions", "TrainedModel", "load", "load_classifier", "predict_to_csv", "warn_if_edited"]

DEVICES = ("cpu", "gpu", "auto")
"""Places where a loaded model may predict."""
_ARRAYS = ("names", "logits", "features")


class Predictions(NamedTuple):
    """Predictions of a model.

    Attributes:
        labels: the N predictions as text: names of classes, lists of labels, or numbers.
        confidence: probability of the prediction, ``(N,)``, in [0, 1]; None for numbers.
        probabilities: of all classes or labels, ``(N, C)``; None for numbers.
        values: classes ``(N,)``, labels ``(N, L)`` of 0 and 1, or numbers ``(N, K)`` in the targets' units.
        names: of the samples: their files, or numbers from 0.
        logits: outputs of the head, before softmax, sigmoid or rescaling, ``(N, C)``; None if not requested.
        features: inputs of the head, of words or frames their mean, ``(N, D)``; None if not requested.
    """

    labels: list[str]
    confidence: Tensor | None
    probabilities: Tensor | None
    values: Tensor
    names: list[str]
    logits: Tensor | None = None
    features: Tensor | None = None


class Seen(NamedTuple):
    """Results of a network for a batch.

    Attributes:
        features: inputs of the head, of words or frames their mean, ``(B, D)``, on the CPU.
        outputs: of the head, ``(B, C)``; of words and frames ``(B, L, C)``; on the CPU.
    """

    features: Tensor
    outputs: Tensor


class TrainedModel(nn.Module):
    """A run's network with the preprocessing of its inputs.

    Args:
        network: backbone, bottleneck and head.
        problem: kind of prediction.
        shape: channels, height and width of the training data; tables of pixel values have this form. ``()``
            if inputs are named tensors.
        reading: how the training files were read (:attr:`~tl_lab.data.base.DataModule.reading`).
        adapter: adapter of the backbone.
    """

    def __init__(
        self,
        network: Network,
        problem: Problem,
        shape: tuple[int, ...],
        reading: Mapping[str, Any] | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        self.network, self.problem, self.shape = network, problem, tuple(shape)
        self.adapter = adapter
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
            x: images ``(B, C, H, W)``, uint8 in 0..255 or float in [0, 1], of any size and 1 or 3 channels; or other
                inputs of the backbone's specification, such as named tensors.

        Returns:
            Outputs, ``(B, C)``: logits for classifiers.
        """
        return self.network(self.spec.prepare(x))

    def predict(
        self,
        inputs: Given,
        batch_size: int = 256,
        *,
        skip_unreadable: bool = False,
        logits: bool = False,
        features: bool = False,
    ) -> Predictions:
        """Predict one or more samples.

        Args:
            inputs: an image file, a folder of images (searched recursively), a CSV file (a column ``path``, relative to
                the file, or a column for each value, pixels in 0..255); a PIL image; an array or tensor, of images
                ``(B, C, H, W)``, ``(B, H, W, C)`` or one of these without ``B`` or ``C``, uint8 in 0..255 or float in
                [0, 1], of vectors ``(B, D)``; a list of files and folders, of PIL images or of arrays; questions (see
                :func:`tl_lab.run.given_passages.read_passages`); or a batch of named tensors.
            batch_size: samples per batch.
            skip_unreadable: skip unreadable images with a warning that names them, instead of stopping.
            logits: return the outputs of the head, too.
            features: return the inputs of the head, too.

        Returns:
            Labels, confidence and probabilities, in the order of the inputs (in a folder: in alphabetical order).

        Raises:
            UserError: there are no inputs, a file cannot be read, or an array has the wrong shape or range.
        """
        batches = self.predict_batches(
            inputs, batch_size, skip_unreadable=skip_unreadable, logits=logits, features=features
        )
        parts = list(batches)
        if not parts:
            raise UserError("there is nothing to predict: no image is readable, or the array is empty")
        return Predictions(*map(_joined, zip(*parts, strict=True)))

    def with_support(self, support: "GivenSupport", *, skip_unreadable: bool = False) -> "Supported":
        """Classify by the nearest mean of the user's own examples in this model's feature space; see
        :meth:`~tl_lab.run.support.FewShotModel.with_support`."""
        from tl_lab.run.support import NearestMean, Supported, read_support

        return Supported(self, NearestMean(self.network), read_support(support, self, skip_unreadable))

    def predict_batches(
        self,
        inputs: Given,
        batch_size: int = 256,
        *,
        skip_unreadable: bool = False,
        logits: bool = False,
        features: bool = False,
    ) -> Iterator[Predictions]:
        """Predict batch by batch, for more samples than fit in memory; arguments as in :meth:`predict`."""
        yield from self.answer(read_given(inputs, self, batch_size, skip_unreadable), logits, features)

    @torch.no_grad()
    def answer(self, batches: Iterable[Named], logits: bool = False, features: bool = False) -> Iterator[Predictions]:
        """Predict batches that are already loaded (see :mod:`tl_lab.run.given`)."""
        device = next(self.network.parameters()).device
        for names, x, texts in batches:
            seen = self.see(self.spec.prepare(move(x, device)))
            answer = self.problem.predict(seen.outputs)
            yield Predictions(
                self.problem.words(answer.values) if texts is None else self.problem.fields(answer.values, texts),
                *answer[1:],
                answer.values,
                names,
                seen.outputs if logits else None,
                seen.features if features else None,
            )

    @torch.no_grad()
    def see(self, x: Inputs) -> Seen:
        """Compute features and outputs of a batch.

        Args:
            x: prepared inputs, on the network's device.
        """
        features = self.network.features(x)
        outputs = self.network.head(features).cpu()
        if self.problem.of_words and not isinstance(x, Tensor):
            outputs = self.problem.without_padding(outputs, x["words"].cpu())
        return Seen(one_vector_each(features, x).cpu(), outputs)


def _joined(parts: Sequence[Any]) -> Any:
    """Concatenate one field of several batches."""
    if isinstance(parts[0], list):
        return [one for part in parts for one in part]
    if parts[0] is None:
        return None
    longest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]  # tags: per batch
    return torch.cat([_filled(part, longest) for part in parts])


def _filled(part: Tensor, shape: Sequence[int]) -> Tensor:
    """Pad the shorter sequences of a batch with 0."""
    lacking = [size - own for size, own in zip(shape, part.shape[1:], strict=True)]
    if not any(lacking):
        return part
    return nn.functional.pad(part, [size for missing in reversed(lacking) for size in (0, missing)])


def load(
    run: str | Path,
    checkpoint: str | None = None,
    task: int | None = None,
    allow: Sequence[str] = (),
    config_dir: str | Path | None = None,
    device: str = "cpu",
) -> "TrainedModel | FewShotModel":
    """Load the model of a run.

    Args:
        run: the run's folder.
        checkpoint: ``best`` or ``last``; None for the one that the run tested.
        task: for a stream with one head per task, the task whose head predicts, counted from 1.
        allow: names of backbones, in addition to the project's own, that the folder's configuration may use.
        config_dir: the folder of further choices with which the run was made (``--config-dir``).
        device: ``cpu``, ``gpu``, or ``auto`` for a GPU if there is one.

    Returns:
        The model on that device, in evaluation mode. For a run that was trained on episodes it is a
        :class:`~tl_lab.run.support.FewShotModel`, which classifies by a support set of the user's own.

    Raises:
        UserError: the folder contains no run, its files are damaged, ``task`` is missing or out of range, or there is
            no such device.
    """
    where = _device_named(device)
    with using([config_dir]):
        return _load(Path(run), checkpoint, task, allow).to(where)


def _device_named(name: str) -> torch.device:
    if name not in DEVICES:
        raise UserError(f"the device must be one of {', '.join(DEVICES)}, not {name!r}")
    if name == "gpu" and not torch.cuda.is_available():
        raise UserError(
            "--device gpu (in Python: device='gpu') is not available: PyTorch finds no GPU here; --device cpu uses the "
            "CPU"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _unfinished(folder: Path) -> dict[str, Any]:
    """Return the record of a run that has not finished; empty otherwise, and for a folder without a record."""
    with suppress(UserError):
        results = read_results(folder)
        return results if results.get("status") in ("running", "failed") else {}
    return {}


def load_classifier(
    run: str | Path,
    checkpoint: str | None = None,
    task: int | None = None,
    allow: Sequence[str] = (),
    config_dir: str | Path | None = None,
    device: str = "cpu",
) -> TrainedModel:
    """Load the model of a run with fixed classes, labels or numbers; arguments as in :func:`load`.

    Raises:
        UserError: as in :func:`load`, and for a run that was trained on episodes.
    """
    model = load(run, checkpoint, task, allow, config_dir, device)
    if not isinstance(model, TrainedModel):
        model.predict()  # raises an error that names what is missing
    return cast(TrainedModel, model)


def _load(
    folder: Path, checkpoint: str | None, task: int | None, allow: Sequence[str]
) -> "TrainedModel | FewShotModel":
    cfg = _stored_config(folder, allow)
    path = checkpoint_of(folder, checkpoint)
    unfinished = _unfinished(folder)
    if unfinished and not path.exists():
        raise UserError(
            f"{folder} {not_completed(unfinished)}, and has no checkpoint: the run ended before its first epoch was "
            "complete; start it again"
        )
    if unfinished:
        warnings.warn(
            f"{folder} has not finished: its model so far is used; resume={folder} continues it", stacklevel=3
        )
    content = read_checkpoint(path)
    facts = content.get("model")
    if facts is None:
        raise UserError(f"{path} does not contain the names of its classes: it was not written by this program")
    for name, value in (("pretrained", False), ("weights", None)):
        if name in cfg.backbone and "base" not in facts:
            cfg.backbone[name] = value  # all weights are in the checkpoint
    if reason := facts.get("not_applicable"):
        raise UserError(f"{folder} has no zero-shot classifier: {reason}")
    if facts.get("prompted"):
        raise UserError(
            f"{folder} prompted a language model, and trained nothing that could predict: use "
            "strategy=zero_shot or a strategy that trains"
        )
    shape = tuple(facts["shape"])
    if facts.get("episodes"):
        return _few_shot_model(folder, cfg, path, content, allow)
    outputs = Outputs(facts["outputs"]["scenario"], tuple(facts["outputs"]["sizes"])) if "outputs" in facts else None
    problem = _problem_of(folder, cfg, facts, outputs, task, allow)
    with foreign(folder / "config.yaml", allow), _as_configured(folder):
        backbone = build_backbone(
            Recipe("backbone", to_plain(cfg.backbone)), cfg.seed, shape, _given(content, problem.writes)
        )
        adapter: Adapter = build_node(cfg.adapter)
        base = hash_of(backbone) if "base" in facts else None
        backbone = inject(adapter, cfg.seed, backbone)
    if problem.tasks and cfg.strategy.get("adapters") == "per_task":
        adapter = OfEachTask(adapter, list(problem.tasks), problem.owners)
        backbone = adapter.inject(backbone)
    with _as_configured(folder):
        network = Network(
            backbone,
            len(facts["class_names"]),
            cfg.strategy.get("bottleneck"),
            blocks=None if outputs is None else outputs.blocks,
            **_head_options(cfg, folder),
        )
    _change_parts(network, facts)
    prefix = "network."
    if any(name.startswith("network.target_encoder.") for name in content["state_dict"]):
        network.separate_encoders()
    state = filled_up(content, nn.ModuleDict({"network": network}), base, str(path))
    weights = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    if any(".target_running_" in name for name in weights):
        network.separate_statistics()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{path} does not fit {folder / 'config.yaml'}: {str(error).splitlines()[-1].strip()}"
        ) from error
    network.use("target")  # the domain to which the model was adapted, if domains have separate parts
    # the format of the inputs in training, which a pretrained backbone may have determined
    network.backbone.spec = _spec(facts, network.backbone)
    _order_as_trained(network, cfg)
    if isinstance(network.head, TaskHead) and task is not None:
        network.head.active = (task - 1,)
    return TrainedModel(network, problem, shape, facts.get("reading"), adapter)


def _order_as_trained(network: Network, cfg: DictConfig) -> None:
    """Order the weights of convolutions in memory as in training: another order rounds sums differently."""
    if cfg.get("channels_last"):
        network.to(memory_format=torch.channels_last)


def _change_parts(network: Network, facts: Mapping[str, Any]) -> None:
    """Replace the modules that are neither linear layers nor determined by the configuration."""
    if facts.get("unit_length"):
        network.bottleneck = UnitLength()
    if (groups := facts.get("groups")) is not None:
        network.head = GroupedHead(network.num_features, groups)
    if (decoder := facts.get("recogniser")) is not None:
        from tl_lab.backbones.whisper_decoder import Recogniser

        backbone: Any = network.backbone
        network.head, backbone.frames, backbone.silence = Recogniser.from_state(decoder), True, decoder["silence"]


def _few_shot_model(
    folder: Path, cfg: DictConfig, path: Path, content: Mapping[str, Any], allow: Sequence[str]
) -> "FewShotModel":
    """Build the strategy of a run that was trained on episodes, with the weights of its checkpoint."""
    from tl_lab.run.support import FewShotModel

    check_foreign({"strategy": cfg.strategy}, folder / "config.yaml", allow)
    facts = content["model"]
    with foreign(folder / "config.yaml", allow), _as_configured(folder):
        node = Recipe("backbone", to_plain(cfg.backbone))
        backbone = build_backbone(node, cfg.seed, tuple(facts["shape"]), _given(content, False))
        adapter: Adapter = build_node(cfg.adapter)
        base = hash_of(backbone) if "base" in facts else None
        recipe = Recipe("strategy", to_plain(cfg.strategy))
        strategy = recipe.build(
            backbone=inject(adapter, cfg.seed, backbone),
            adaptation=NoAdaptation(),
            problem=SingleLabel(list(facts["class_names"])),
            num_outputs=cfg.data.train.way if recipe.kind.fixed_way else len(facts["class_names"]),
            optimizer=torch.optim.SGD,
            scheduler=Constant(),
            seed=cfg.seed,
        )
    network = strategy.network
    if any(name.startswith("network.target_encoder.") for name in content["state_dict"]):
        network.separate_encoders()
    whole = filled_up({**content}, strategy, base, str(path))
    state = {name: tensor for name, tensor in whole.items() if not name.startswith("adaptation.")}
    if any(".target_running_" in name for name in state):
        network.separate_statistics()
    try:
        strategy.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{path} does not fit {folder / 'config.yaml'}: {str(error).splitlines()[-1].strip()}"
        ) from error
    network.use("target")
    network.backbone.spec = _spec(facts, network.backbone)
    _order_as_trained(network, cfg)
    return FewShotModel(strategy, tuple(facts["shape"]), facts.get("reading"), folder)


def _problem_of(
    folder: Path,
    cfg: DictConfig,
    facts: dict[str, Any],
    outputs: Outputs | None,
    task: int | None,
    allow: Sequence[str],
) -> Problem:
    """Build the problem of the predicting outputs; runs of the first version predict one class of several."""
    names = _names_of(folder, facts, outputs, task)
    state = facts.get("problem", {"name": SingleLabel.name})
    try:
        if not _is_packaged(state):  # its class is imported with that of the data
            node = to_plain(cfg.data)
            check_foreign({"data": node}, folder / "config.yaml", allow)
            class_of(node).problem_for(node)
        return restore({**state, "output_names": names})
    except UserError:
        raise
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"the checkpoint of {folder} does not describe the model's predictions ({error}): it is damaged"
        ) from error


def _is_packaged(state: Mapping[str, Any]) -> bool:
    """Whether this package contains the problem of a state, and those of its tasks."""
    return state["name"] in PACKAGED and all(_is_packaged(one) for _, one in state.get("tasks", ()))


def _head_options(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Read the head's options, which must be numbers: nothing is built from them."""
    options = dict(cast(dict[str, Any], OmegaConf.to_container(cfg.strategy.get("head") or OmegaConf.create({}))))
    hidden, dropout = options.get("hidden", []), options.get("dropout", 0.0)
    numbers = isinstance(hidden, list) and all(isinstance(one, int | float) for one in [dropout, *hidden])
    if options.keys() - {"hidden", "dropout"} or not numbers:
        raise UserError(f"{folder / 'config.yaml'}: strategy.head may contain hidden and dropout only, not {options}")
    return options


def _names_of(folder: Path, facts: dict[str, Any], outputs: Outputs | None, task: int | None) -> list[str]:
    """Name the predicting outputs; for a stream, possibly those of one task."""
    names = list(facts["class_names"])
    if facts.get("scrambled"):
        raise UserError(f"{folder} was trained on permuted pixels: it cannot label images with unpermuted pixels")
    if outputs is None or outputs.scenario != "task":
        if task is not None:
            raise UserError(f"{folder} has no separate heads that --task {task} could select: leave it out")
        return names
    if task is None or not 1 <= task <= outputs.num_tasks:
        suffix = "" if task is None else f", not {task}"
        raise UserError(
            f"{folder} was trained on {outputs.num_tasks} tasks with one head each: select one from 1 to "
            f"{outputs.num_tasks} by --task 1 (in Python: task=1){suffix}"
        )
    return names[outputs.offset(task - 1) :][: outputs.sizes[task - 1]]


def predict_to_csv(
    run: str | Path,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    checkpoint: str | None = None,
    skip_unreadable: bool = False,
    task: int | None = None,
    allow: Sequence[str] = (),
    arrays: bool = False,
    support: str | Path | None = None,
    reject_below: float = 0.0,
    device: str = "cpu",
    keep: Sequence[str] = (),
) -> Path:
    """Write labels and confidence for images, folders of images or a table.

    Args:
        run: the run's folder.
        inputs: an image, a folder of images (searched recursively), a CSV file (see :meth:`TrainedModel.predict`), or a
            list of images and folders.
        output: the CSV file to write; None for ``<run>/predictions/<name of inputs>.csv``, with
            ``support`` ``<name of inputs>_by_support.csv`` (see
            :func:`~tl_lab.results.folder.predictions.predictions_path`). An earlier file is replaced.
        checkpoint: ``best`` or ``last``; None for the one that the run tested.
        skip_unreadable: skip unreadable images with a warning that names them, instead of stopping.
        task: see :func:`load`.
        allow: see :func:`load`.
        arrays: write names, logits and features to an additional ``.npz`` file.
        support: a folder with a folder of examples for each class, or a table with the column ``label`` and those of
            the inputs: classify by these (see :meth:`~tl_lab.run.support.FewShotModel.with_support`).
        reject_below: confidence below which a sample gets no label from a support set, in [0, 1].
        device: see :func:`load`.
        keep: columns of the table of inputs that the file repeats, by name; ``*`` stands for any characters.

    Returns:
        The file: a column ``input``, the kept ones, and those of the problem: ``label`` and ``confidence``, for several
        labels the probability of each, or a column for each predicted quantity. A text that a spreadsheet would read as
        a formula is prefixed with an apostrophe.

    Raises:
        UserError: there are no inputs, or a file cannot be read or written.
    """
    given = [Path(one) for one in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    if keep and skip_unreadable:
        raise UserError("--keep: columns are copied only if all rows are predicted: leave --skip-unreadable out")
    if support is not None:
        if arrays:
            raise UserError("logits of a support set's classes cannot be written: leave --arrays out")
        loaded = load(run, checkpoint, task, allow, device=device)
        copied = kept_columns(given, keep, loaded.reading)
        supported = loaded.with_support(support, skip_unreadable=skip_unreadable)
        answers = supported.predict_batches(given, skip_unreadable=skip_unreadable, reject_below=reject_below)
        path = Path(output) if output else predictions_path(run, given, support)
        _write_rows(path, ((batch.names, _columns_of(batch)) for batch in answers), copied)
        return path
    model = load_classifier(run, checkpoint, task, allow, device=device)
    copied = kept_columns(given, keep, model.reading)
    path = Path(output) if output else predictions_path(run, given)
    kept: list[Predictions] = []

    def predicted() -> Iterator[tuple[list[str], Mapping[str, Sequence[str]]]]:
        for batch in model.predict_batches(given, skip_unreadable=skip_unreadable, logits=arrays, features=arrays):
            columns = model.problem.columns(Prediction(batch.values, batch.confidence, batch.probabilities))
            if model.problem.of_words:
                columns["label"] = batch.labels  # includes the words, which tags and positions do not contain
            kept.extend([batch] if arrays else [])
            yield batch.names, columns

    _write_rows(path, predicted(), copied)
    if arrays:
        _write_arrays(path.with_suffix(".npz"), kept)
    return path


def _columns_of(answers: "Answers") -> dict[str, Sequence[str]]:
    sure = [f"{value:.4f}" for value in answers.confidence.tolist()]
    return {"label": answers.labels, "confidence": sure, "nearest_support": answers.nearest}


def _write_rows(
    path: Path, batches: Iterable[tuple[list[str], Mapping[str, Sequence[str]]]], copied: Mapping[str, Sequence[str]]
) -> None:
    """Write predictions, batch by batch, with columns of the inputs' table.

    Args:
        path: of the CSV file.
        batches: names of the samples and the columns of their predictions.
        copied: columns of all samples, written after their names.

    Raises:
        UserError: these columns have fewer or more rows than there are predictions.
    """
    start, wanted = 0, len(next(iter(copied.values()))) if copied else None
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        for names, columns in batches:
            stop = start + len(names)
            if wanted is not None and stop > wanted:
                raise UserError(f"{stop:,} or more predictions do not match the {wanted:,} rows to keep")
            if start == 0:
                # labels and columns may have any name
                head = "input" if "input" not in (*columns, *copied) else "input file"
                own = [f"input {name}" if name in columns else name for name in copied]
                table.writerow(map(no_formula, [head, *own, *columns]))
            beside_them = [cells[start:stop] for cells in copied.values()]
            rows = zip(names, *beside_them, *columns.values(), strict=True)
            table.writerows(map(no_formula, row) for row in rows)
            start = stop
        if wanted is not None and start != wanted:
            raise UserError(f"{start:,} predictions do not match the {wanted:,} rows to keep")


def _write_arrays(path: Path, parts: Sequence[Predictions]) -> None:
    names, logits, features = (_joined([getattr(part, name) for part in parts]) for name in _ARRAYS)
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, names=np.array(names), logits=logits.numpy(), features=features.numpy())


def _stored_config(folder: Path, allow: Sequence[str]) -> DictConfig:
    checkpoint_of(folder)  # raises an error if the folder contains no run
    path = folder / "config.yaml"
    cfg = read_stored(folder)
    check_foreign({"backbone": cfg.backbone, "adapter": cfg.adapter}, path, allow)
    warn_if_edited(folder, cfg)
    return cfg


@contextmanager
def _as_configured(folder: Path) -> Iterator[None]:
    """Report values of a stored configuration with which a part cannot be built, as in edited or foreign files.

    Raises:
        UserError: a part was not built.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError, AttributeError, KeyError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{folder / 'config.yaml'} does not build the run's network: {reason}") from error


def warn_if_edited(folder: Path, cfg: DictConfig) -> None:
    """Warn if a run's ``config.yaml`` was changed later, so that the model may differ from the trained one.

    Args:
        folder: of the run.
        cfg: its configuration, as read from there.
    """
    try:
        results = read_results(folder)
    except UserError:  # an exported folder has none
        return
    if difference := difference_from_recorded(cfg, results):
        warnings.warn(
            f"{folder / 'config.yaml'} {difference}: predictions may differ from those of the run", stacklevel=2
        )


def _given(content: Mapping[str, Any], writes: bool) -> dict[str, Any]:
    """Return arguments for building the backbone of a checkpoint, except the shape of its inputs."""
    spec = content["model"].get("spec", {})
    if writes:
        return {"frames": True}
    if (spec.get("tokeniser") or {}).get("kind") == Words.kind:
        widths = [t.shape[1] for name, t in content["state_dict"].items() if name.endswith("backbone.vectors.weight")]
        return {"table": StoredTable(cast(TokenSpec, spec_from(spec)), widths[0])} if widths else {}
    return {"columns": spec_from(spec)} if spec.get("modality") == TableSpec.modality else {}


def _spec(facts: Mapping[str, Any], backbone: Backbone) -> InputSpec:
    """Restore the input specification of the model."""
    if "spec" in facts:
        known = backbone.spec.modality == facts["spec"]["modality"]  # a spec may come with an outside backbone
        return backbone.spec.from_state(facts["spec"]) if known else spec_from(facts["spec"])
    old = facts["preprocessing"]  # format of the first version, for images and vectors alike
    return VectorSpec(old["channels"]) if tuple(old["size"]) == (1, 1) else ImageSpec.from_state(old)
