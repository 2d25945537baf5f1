"""Trained weights: read from files as data, or downloaded within a limited time."""

import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from tl_lab.data.roots import places_of
from tl_lab.errors import UserError

__all__ = [
    "adapt_input",
    "bounded_sockets",
    "check_fit",
    "download",
    "find_weights",
    "read_weights",
    "replace_first_conv",
    "require_reachable",
    "unreachable",
]

PATIENCE_S = 5.0
_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("_orig_mod.", "module.", "net.")  # of a compiled, a parallel, and this package's own module


def find_weights(path: str | Path) -> Path:
    """Find a file of weights at the given path, or below the folder of data sets.

    Args:
        path: absolute, or relative to the current folder or to ``TL_LAB_DATA``; ``~`` allowed.

    Raises:
        UserError: there is no such file.
    """
    places = places_of(path)
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"backbone.weights: there is no file {' or '.join(map(str, places))}; give the path of a weights file."
    )


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a local file, as data: nothing in the file is executed.

    Args:
        path: see :func:`find_weights`; a ``.safetensors`` file, or one that ``torch.save`` wrote (read with
            ``weights_only=True``). A dict that holds the weights under ``state_dict`` or ``model`` is unwrapped.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        UserError: there is no such file, it is damaged, or it contains something other than tensors.
    """
    path = find_weights(path)
    remedy = "give a .safetensors file, or a state dict saved by torch.save"
    try:
        loaded = _load(path)
    except Exception as error:  # a damaged file can fail in many ways
        objects = "GLOBAL" in str(error)  # torch names the opcode that would have imported code
        fault = "contains Python objects, which are not read" if objects else "is damaged or not a file of weights"
        raise UserError(f"backbone.weights: {path} {fault}; {remedy}.") from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise UserError(f"backbone.weights: {path} contains no named weights; {remedy}.")
    other = [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]
    if other:
        raise UserError(f"backbone.weights: {path} contains {_few(other)} in addition to tensors; {remedy}.")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in loaded):
            loaded = {name.removeprefix(prefix): value for name, value in loaded.items()}
    return dict(loaded)


def check_fit(
    path: str | Path, model: str, expected: Mapping[str, Tensor], given: Mapping[str, Tensor], extra: list[str]
) -> None:
    """Check that names and shapes of a file's tensors are those of a network.

    Args:
        path: the file, for the message.
        model: the network, for the message.
        expected: the network's tensors.
        given: the file's tensors.
        extra: names in the file that the network does not have.

    Raises:
        UserError: a tensor is missing, superfluous or of another shape; the message names a few.
    """
    # Older files lack this counter, which no computation with a given momentum uses.
    missing = [name for name in expected if name not in given and not name.endswith("num_batches_tracked")]
    shapes = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in given and given[name].shape != expected[name].shape
    ]
    complaints = [
        f"{fault} {_few(names)}"
        for fault, names in (("lacks", missing), ("has no place for", extra), ("has the wrong shape for", shapes))
        if names
    ]
    if complaints:
        faults = ", ".join(complaints).replace("has no place for", "holds the unknown")
        raise UserError(f"backbone.weights: {path} does not fit {model}: it {faults}; give weights of this model.")


def adapt_input(weight: Tensor, channels: int) -> Tensor:
    """Convert a first convolution that was trained on RGB to another number of channels.

    One channel has the sum over RGB, with the same outputs as for a grey image repeated three times; other numbers of
    channels repeat RGB in turn, scaled by 3 / ``channels``.

    Args:
        weight: ``(maps, 3, h, w)``.
        channels: new number of channels.

    Returns:
        ``(maps, channels, h, w)``.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels]
    return repeated * (3 / channels)


def replace_first_conv(root: nn.Module, channels: int, trained: bool) -> None:
    """Replace a network's first convolution by one for another number of channels, in place.

    Args:
        root: the network.
        channels: new number of channels.
        trained: adapt the existing weights (:func:`adapt_input`); otherwise draw new ones.
    """
    path, old = next((path, part) for path, part in root.named_modules() if isinstance(part, nn.Conv2d))
    if old.in_channels == channels:
        return
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        dilation=old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        if trained:
            new.weight.copy_(adapt_input(old.weight, channels))
        else:
            nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, new)


def require_reachable(url: str, what: str, patience_s: float = PATIENCE_S) -> None:
    """Check within a limited time whether a download can start.

    Args:
        url: of the file.
        what: name of the weights, for the message.
        patience_s: seconds to wait for a response.

    Raises:
        UserError: the host did not respond in time.
    """
    answered: list[bool] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=patience_s).close()
        except urllib.error.HTTPError:
            pass  # also a response; the download reports details
        except Exception:
            return
        answered.append(True)

    # Name resolution has no time limit, so that it runs in a thread that can be abandoned.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience_s)
    if not answered:
        raise unreachable(url, what)


def unreachable(url: str, what: str, reason: str = "") -> UserError:
    """Create the error for weights that cannot be downloaded, with alternatives."""
    return UserError(
        f"backbone.pretrained=true needs the weights of {what} from {urlsplit(url).hostname}, which could not be "
        f"{'downloaded (' + reason + ')' if reason else 'reached'}; give a local file as backbone.weights=<file>, "
        "train with backbone.pretrained=false, or try again with a network."
    )


@contextmanager
def bounded_sockets(seconds: float = 30.0) -> Iterator[None]:
    """Limit the time for which connections opened within the context wait for data."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def download(url: str, what: str) -> Path:
    """Download a file of weights once, into torch's cache.

    Args:
        url: of the file; a ``-<hash>`` before its extension is verified.
        what: name of the weights, for the message.

    Returns:
        The path of the file; later calls find it without a network.

    Raises:
        UserError: the host does not respond, or the download is interrupted.
    """
    name = Path(urlsplit(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    require_reachable(url, what)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = re.search(r"-([0-9a-f]{8,})\.", name)
    try:
        with bounded_sockets():
            torch.hub.download_url_to_file(url, str(path), digest and digest.group(1), progress=False)
    except Exception as error:  # network, disk and hash errors have no closer common base
        raise unreachable(url, what, f"{type(error).__name__}: {error}"[:160]) from error
    return path


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
