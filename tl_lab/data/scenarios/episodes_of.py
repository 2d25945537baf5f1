"""Episodes from any labelled set, whose classes are divided among training, validation and test."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Len

from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.data.sets.glyphs import split_classes
from tl_lab.data.splits import of_classes
from tl_lab.errors import UserError
from tl_lab.options import Positive

__all__ = ["EpisodesOf"]


class EpisodesOf(EpisodicData):
    """Divide the classes of a labelled set among training, validation and test, at random by the seed.

    All samples of a class go to the same part, independent of the original split. For a pair of domains, the source's
    classes are divided. The unlabelled target samples are not divided, and target episodes are drawn from the samples
    of the test classes in the labelled target.

    Args:
        of: the set, in memory or on disk, or the pair of domains; classes may differ in size.
        class_shares: shares of the classes for training, validation and test, each above 0.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.episodic.EpisodicData`.

    Raises:
        UserError: the data are a task stream, episodic or not single-label, or have too few classes.
    """

    def __init__(
        self,
        *,
        of: DataModule,
        class_shares: Annotated[Sequence[Positive], Len(3, 3)] = (0.5, 0.25, 0.25),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if isinstance(of, TaskStream | EpisodicData):
            raise UserError(f"data.of must be a labelled set or a pair of domains, not {type(of).__name__}")
        if not of.problem_kind.numbers_outputs:
            raise UserError(
                f"data.of must be single-label data, because episodes are drawn by class, not {type(of).__name__}"
            )
        if len(class_shares) != 3:
            raise UserError(f"data.class_shares must be three numbers (training, validation, test), not {class_shares}")
        self.of, self.class_shares = of, (class_shares[0], class_shares[1], class_shares[2])

    @classmethod
    def modality_for(cls, node: Mapping[str, Any]) -> str:
        """Return the modality of the set."""
        from tl_lab.data.scenarios.inner import inner_modalities

        return inner_modalities([node["of"]])[0]

    @classmethod
    def traits_for(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """Return the traits, with a target for a pair of domains."""
        from tl_lab.data.scenarios.inner import inner_classes

        paired = all(issubclass(kind, DomainPair) for kind in inner_classes([node["of"]]))
        return cls.traits | ({"target"} if paired else set())

    def read(self) -> dict[str, Samples]:
        """Read the set, and divide its classes."""
        from tl_lab.data.scenarios.inner import name_of, read_inner

        sets = read_inner(self.of, name_of(self.of), "data.of")
        names = self.of.class_names
        self.notes += self.of.notes
        parts = split_classes(len(names), self.class_shares, self.seed)
        prefix = "source/" if isinstance(self.of, DomainPair) else ""
        whole = Samples.concatenate([sets[prefix + part] for part in ("train", "val", "test") if prefix + part in sets])
        shared: dict[str, Samples] = {}
        for part, classes in zip(("train", "val", "test"), parts, strict=True):
            shared[prefix + part] = of_classes(whole, classes)
            self.classes[prefix + part] = [names[c] for c in classes.tolist()]
        if prefix:
            shared["target/train"] = sets["target/train"]
            if "target/test" in sets:
                shared["target/test"] = of_classes(sets["target/test"], parts[2])
                self.classes["target/test"] = self.classes["source/test"]
        return shared

    def _made_of(self) -> DataModule:
        return self.of
