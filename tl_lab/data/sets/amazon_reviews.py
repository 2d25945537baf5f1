"""Amazon reviews: sentiment of reviews of four kinds of products, as counts of words and word pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from sklearn.datasets import load_svmlight_file

from tl_lab.data.roots import find_root, missing
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.sets.pairs import name_pair
from tl_lab.data.splits import hold_out
from tl_lab.errors import UserError
from tl_lab.options import Fraction
from tl_lab.texts import counted

__all__ = ["AmazonReviews"]

_FEATURES = 5000
_LABELS = (-1.0, 1.0)
_HOW_TO_GET = "put the eight files DOMAIN_train.svmlight and DOMAIN_test.svmlight there"


class AmazonReviews(DomainPair):
    """Reviews of books, DVDs, electronics and kitchen appliances: vectors of 5,000 features, two classes.

    Training uses the 2,000 labelled reviews of the source, and 2,000 reviews of the target without labels. The test
    part of the target (3,586 to 5,945 reviews) is scored.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        pair: source and target in one option, as in ``books_to_dvd`` or, for several sources,
            ``books+kitchen_to_dvd``; None to use the next two options.
        source: a domain or a list of domains.
        target: a domain.
        val_share: share of the source's training part held out for validation, in (0, 1).
        options: keyword arguments of :class:`~tl_lab.data.base.DomainPair`.

    References:
        Blitzer, Dredze and Pereira, ACL 2007; preprocessed by Chen et al., Marginalized Denoising Autoencoders for
        Domain Adaptation, ICML 2012; used by Ganin et al., JMLR 17 (2016), section 5.1.3.
    """

    domains: ClassVar[tuple[str, ...]] = ("books", "dvd", "electronics", "kitchen")

    modality = "vector"
    place_options = ("root",)

    def __init__(
        self,
        *,
        root: str | None = None,
        pair: str | None = None,
        source: str | Sequence[str] | None = "books",
        target: str | None = "dvd",
        val_share: Fraction = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.sources, self.target = name_pair(pair, source, target, self.domains)
        if not 0 < val_share < 1:
            raise UserError(f"data.val_share must be between 0 and 1, not {val_share}")
        if self.augmentation is not None and self.augmentation.active:
            raise UserError("augmentation changes images, but amazon_reviews are vectors: set augmentation=none")
        self.root, self.val_share = root, val_share

    def read(self) -> dict[str, Samples]:
        """Read the files, and hold out the source's validation part."""
        folder = find_root(self.root, "Amazon reviews", _HOW_TO_GET) / "amazon_reviews"
        self.class_names = ["negative", "positive"]
        sources = [_read(folder / f"{name}_train.svmlight") for name in self.sources]
        tests = [_read(folder / f"{name}_test.svmlight") for name in self.sources]
        target = [_read(folder / f"{self.target}_{part}.svmlight") for part in ("train", "test")]
        self.contents = [samples.fingerprint() for samples in (*sources, *tests, *target)]
        source = Samples.concatenate(sources)
        assert source.y is not None
        kept, held_out = hold_out(source.y, {"val": self.val_share}, self.seed, self.class_names)
        return {
            "source/train": source.subset(kept),
            "source/val": source.subset(held_out["val"]),
            "source/test": Samples.concatenate(tests),
            "target/train": target[0],
            "target/test": target[1],
        }


def _read(path: Path) -> Samples:
    if not path.is_file():
        raise missing("Amazon reviews", path, _HOW_TO_GET)
    try:
        x, y = load_svmlight_file(str(path), n_features=_FEATURES)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): {_HOW_TO_GET}") from error
    wrong = [number for number, label in enumerate(y, 1) if label not in _LABELS]
    if wrong:
        raise UserError(
            f"{path} has the label {y[wrong[0] - 1]:g} in row {wrong[0]} ({counted(len(wrong), 'row')} in all): "
            f"labels are -1 (negative) and 1 (positive); {_HOW_TO_GET}"
        )
    if x.data.size and not x.data.min() >= 0:  # also true for NaN
        raise UserError(f"{path} has the value {x.data.min():g}: features are counts of words; {_HOW_TO_GET}")
    return Samples(torch.from_numpy(x.toarray()).float(), torch.from_numpy((y > 0).astype("int64")))
