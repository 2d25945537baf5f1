"""Teachers of a distillation: the model of a run, or a published one by its name or folder."""

import re
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.errors import UserError
from tl_lab.problems import Problem
from tl_lab.run.inference import TrainedModel, load_classifier
from tl_lab.texts import listed

__all__ = ["PublishedTeacher", "teacher_of"]

_NAMELESS = re.compile(r"label_?\d+", re.IGNORECASE)
"""Names of unnamed classes in the library transformers."""


class PublishedTeacher(NamedTuple):
    """A published model as the teacher of a distillation.

    Args:
        network: computes features; its head is None if predictions are those of a linear probe.
        spec: form of its inputs.
        problem: of the data.
    """

    network: "_Encoder | _Classifier"
    spec: InputSpec
    problem: Problem


def teacher_of(name: str, data: DataModule) -> TrainedModel | PublishedTeacher:
    """Load a teacher.

    Args:
        name: folder of a run; or a model of transformers (for texts) or timm (for images) by its name on the hub; or a
            folder of a model of transformers; or ``minilm``, the packaged encoder. A text classifier predicts with its
            own head; for other models a linear probe is fitted to the training set.
        data: the student's data, already read.

    Raises:
        UserError: there is no such run or model, or its classes differ.
    """
    if (Path(name) / "config.yaml").is_file():
        return load_classifier(name)
    try:
        return _text_teacher(name, data) if data.modality == "text" else _image_teacher(name, data)
    except UserError as error:
        raise UserError(str(error).replace("backbone.name", "strategy.teacher")) from error


def _image_teacher(name: str, data: DataModule) -> PublishedTeacher:
    if data.modality != "image":
        raise UserError(
            f"strategy.teacher={name}: published teachers support texts and images only; give a run's folder"
        )
    from tl_lab.backbones.timm import Timm

    backbone = Timm(name, pretrained=True, in_channels=data.shape[0], input_size=data.shape[1:])
    return PublishedTeacher(_Encoder(backbone), backbone.spec, data.problem)


def _text_teacher(name: str, data: DataModule) -> PublishedTeacher:
    from tl_lab.backbones.hf_text import HFText, source_of

    backbone = HFText(None if name == HFText.default else name)
    config: Any = backbone.net.config
    if not any(kind.endswith("ForSequenceClassification") for kind in config.architectures or ()):
        return PublishedTeacher(_Encoder(backbone), backbone.spec, data.problem)
    from transformers import AutoModelForSequenceClassification

    order = order_of([config.id2label[number] for number in sorted(config.id2label)], data.problem.output_names, name)
    kind: Any = AutoModelForSequenceClassification
    net = kind.from_pretrained(source_of(name), local_files_only=True, trust_remote_code=False, dtype=torch.float32)
    return PublishedTeacher(_Classifier(net.eval(), order), backbone.spec, data.problem)


def order_of(known: list[str], wanted: list[str], name: str) -> list[int]:
    """Find the teacher's output for each class of the data; classes without names are matched in order.

    Args:
        known: the teacher's classes.
        wanted: those of the data.
        name: of the teacher, for messages.

    Raises:
        UserError: the classes differ.
    """
    if len(known) == len(wanted) and all(_NAMELESS.fullmatch(label) for label in known):
        return list(range(len(wanted)))
    places = {label.lower(): number for number, label in enumerate(known)}
    if len(known) != len(wanted) or {label.lower() for label in wanted} != set(places):
        raise UserError(
            f"strategy.teacher: the model {name} has the classes {listed(known, 5)}, but the data have "
            f"{listed(wanted, 5)}: a teacher needs the same classes"
        )
    return [places[label.lower()] for label in wanted]


class _Encoder(nn.Module):
    """A model without a head for these classes."""

    head = None

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone.eval()
        self.num_features = int(backbone.num_features)

    def features(self, x: Inputs) -> Tensor:
        """Compute features ``(B, D)``."""
        return cast(Tensor, self.backbone(x))


class _Classifier(nn.Module):
    """A text classifier of transformers, whose features are the inputs of its last linear layer.

    Args:
        net: the model.
        order: its output for each class of the data.
    """

    def __init__(self, net: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.net, self.order = net, order
        self.last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
        self.num_features = self.last.in_features
        self._read: list[Tensor] = []
        self.last.register_forward_pre_hook(lambda _, given: self._read.append(given[0]))

    def features(self, x: Inputs) -> Tensor:
        """Compute features ``(B, D)``."""
        given = cast(dict[str, Tensor], x)
        types = {"token_type_ids": given["types"]} if "types" in given else {}
        self._read.clear()
        self.net(input_ids=given["ids"], attention_mask=given["mask"], **types)
        return self._read.pop()

    def head(self, features: Tensor) -> Tensor:
        """Compute logits ``(B, C)`` of features, in the order of the data's classes."""
        outputs = cast(Tensor, self.last(features))[:, self.order]
        self._read.clear()
        return outputs
