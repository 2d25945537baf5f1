"""A pair of domains: a labelled source, and a target whose labels are used only for scoring."""

from typing import Any, Literal

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import sample_shape
from tl_lab.data.loaders import Batches, PairLoader
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.splits import random_split
from tl_lab.errors import UserError
from tl_lab.texts import counted

__all__ = ["DomainPair"]

_ORACLE_VAL_SHARE = 0.1  # share of the target's training part that selects the checkpoint of an oracle


class DomainPair(DataModule):
    """A labelled source and a target whose labels are used only for the final score.

    The sets are ``source/train``, ``source/val``, ``source/test``, ``target/train`` (without labels) and, if labels
    exist, ``target/test``. The method :meth:`read` of a subclass returns ``target/train`` with its labels, if they are
    known. :meth:`load` removes them, except for an oracle run, whose results are marked as such.

    Args:
        protocol: ``inductive``: the target is scored on samples that are not used in training; ``transductive``: all
            of its samples are used for training, without labels, and are scored.
        match: whether to convert domains of different sizes or channels to a common input format; False rejects them.
        options: keyword arguments of :class:`DataModule`.

    Raises:
        UserError: the protocol is unknown; from :meth:`load`: the inputs of the domains cannot be converted, or an
            oracle run finds no target labels.
    """

    traits = frozenset({"labels", "target"})
    paired = True
    monitored = "val/source"
    primary = "source/train"

    def __init__(
        self, *, protocol: Literal["inductive", "transductive"] = "inductive", match: bool = True, **options: Any
    ) -> None:
        super().__init__(**options)
        if protocol not in ("inductive", "transductive"):
            raise UserError(f"data.protocol must be 'inductive' or 'transductive', not {protocol!r}")
        self.protocol, self.match = protocol, match

    def load(self, request: Request | None = None) -> None:
        """Read the sets, withhold the target's labels, and check the result."""
        super().load(request)
        self._check_inputs()
        if self.request.reveals_target:
            self.primary, self.monitored = "target/train", "val/target"

    def _read(self) -> dict[str, Samples]:
        sets = self.read()
        if self.protocol == "transductive" and "target/test" in sets:
            whole = Samples.concatenate([sets["target/train"], sets["target/test"]])
            sets["target/train"] = whole
            if whole.y is not None:  # otherwise only the test part can be scored
                sets["target/test"] = whole
        if not self.request.reveals_target:
            sets["target/train"] = sets["target/train"].without_labels()
            return sets
        if sets["target/train"].y is None:
            raise UserError("target_only needs the target's training labels, which these data do not have")
        count = len(sets["target/train"])
        train, val = random_split(count, max(1, round(_ORACLE_VAL_SHARE * count)), self.seed, "target/val")
        sets["target/val"] = sets["target/train"].subset(val)
        sets["target/train"] = sets["target/train"].subset(train)
        return sets

    def _shares_on_purpose(self, name: str, other: str) -> bool:
        return self.protocol == "transductive" and (name, other) == ("target/test", "target/train")

    def _check_inputs(self) -> None:
        shapes = {
            domain: sample_shape(x) for domain in ("source", "target") if in_memory(x := self.sets[f"{domain}/train"].x)
        }
        if len(set(shapes.values())) < 2:
            return
        source, target = shapes["source"], shapes["target"]
        shapes_text = f"the source's samples are {_say(source)}, the target's are {_say(target)}"
        if len(source) != len(target) or len(source) == 1:
            raise UserError(f"{shapes_text}: they cannot be converted to a common input format")
        if not self.match:
            raise UserError(f"{shapes_text}, and data.match=false forbids their conversion")

    @property
    def val_names(self) -> list[str]:
        """Names of the source's validation set and of the target's training part, which gets label-free scores."""
        names = ["source/val", "target/val" if self.request.reveals_target else "target/train"]
        return [*names, "target/test"] if self.request.tracks_oracle and "target/test" in self.sets else names

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets of the source and, if it has labels, of the target."""
        return [name for name in ("source/test", "target/test") if name in self.sets]

    def facts(self) -> dict[str, str]:
        """Report the protocol in addition to the facts of all data."""
        return {**super().facts(), "protocol": self.protocol}

    def train_dataloader(self) -> Batches:
        """Return the loader of the labelled domain alone, or of source and target if the run adapts."""
        source = self.train_loader(self.primary)
        if not self.request.adapts:
            return source
        size = source.order.size  # if the source is smaller than a batch, the target's batches are equally small
        return PairLoader(source, self.train_loader("target/train", num_batches=len(source), batch_size=size))


def _say(shape: tuple[int, ...]) -> str:
    if not shape:
        return "named tensors"
    if len(shape) == 1:
        return f"vectors of length {shape[0]}"
    return f"images of {shape[1]}x{shape[2]} pixels with {counted(shape[0], 'channel')}"
