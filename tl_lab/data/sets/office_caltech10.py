"""Office-Caltech10: photographs of ten kinds of objects in four domains."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tl_lab.data.roots import find_root, missing
from tl_lab.data.sets.image_folder import ImageFolderPair
from tl_lab.data.sets.pairs import name_pair

__all__ = ["OfficeCaltech10"]

_HOW_TO_GET = "put its folders amazon, caltech10, dslr and webcam there, each with ten class folders"


class OfficeCaltech10(ImageFolderPair):
    """A pair of the domains amazon (958 images), caltech10 (1,123), dslr (157) and webcam (295), with ten classes.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        pair: source and target in one option, as in ``amazon_to_webcam`` or, for several sources,
            ``amazon+dslr_to_webcam``; None to use the next two options.
        source: a domain or a list of domains.
        target: a domain.
        options: keyword arguments of :class:`~tl_lab.data.sets.image_folder.ImageFolderPair`.

    References:
        Gong et al., Geodesic Flow Kernel for Unsupervised Domain Adaptation, CVPR 2012.
    """

    place_options = ("root",)
    domains: ClassVar[tuple[str, ...]] = ("amazon", "caltech10", "dslr", "webcam")

    def __init__(
        self,
        *,
        root: str | None = None,
        pair: str | None = None,
        source: str | Sequence[str] | None = "amazon",
        target: str | None = "webcam",
        **options: Any,
    ) -> None:
        sources, to = name_pair(pair, source, target, self.domains)
        super().__init__(source=sources, target=to, **options)
        self.root = root

    def folders(self) -> tuple[list[Path], Path]:
        """Return the folders of the sources, and the folder of the target."""
        place = find_root(self.root, "Office-Caltech10", _HOW_TO_GET) / "office_caltech10" / "images"
        folders = {name: place / name for name in (*self.sources, self.target) if name}
        for folder in folders.values():
            if not folder.is_dir():
                raise missing("Office-Caltech10", folder, _HOW_TO_GET)
        return [folders[str(name)] for name in self.sources], folders[str(self.target)]
