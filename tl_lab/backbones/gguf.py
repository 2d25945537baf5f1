"""Language models in GGUF files, converted once to a folder that transformers reads quickly."""

import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path

from tl_lab.data.cache import cache_folder
from tl_lab.errors import UserError

__all__ = ["converted"]

_DONE = "config.json"  # written last


def converted(path: Path, digest: str) -> Path:
    """Return a folder with the weights of a GGUF file, in single precision, and its tokeniser.

    Quantised weights become single-precision numbers of the same value. The folder is in the cache and is created when
    the file is read for the first time.

    Args:
        path: of the file.
        digest: its SHA-256, which names the folder.

    Raises:
        UserError: a library is missing, or the file cannot be read.
    """
    folder = cache_folder() / f"gguf-{digest[:16]}"
    if (folder / _DONE).is_file():
        return folder
    try:
        import accelerate  # noqa: F401  (transformers asks for it)
        import gguf  # noqa: F401
        import torch
        from safetensors.torch import save_file
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise UserError(
            f"{path.name} needs the libraries gguf, accelerate and transformers ({error}): pip install gguf accelerate "
            "transformers"
        ) from error
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name, "local_files_only": True}
    source["trust_remote_code"] = False
    sys.stderr.write(f"Converting {path.name} once, to {folder}\n")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars of three libraries
            net = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
            tokeniser = AutoTokenizer.from_pretrained(**source)
    except Exception as error:  # of files and unknown architectures
        raise UserError(f"{path} cannot be read as a language model ({str(error).partition(chr(10))[0]})") from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, suffix=".part"))
    try:
        tokeniser.save_pretrained(beside)
        tied = set(getattr(net, "_tied_weights_keys", None) or ()) if net.config.tie_word_embeddings else set()
        state = {name: tensor.contiguous() for name, tensor in net.state_dict().items() if name not in tied}
        save_file(state, beside / "model.safetensors", metadata={"format": "pt"})
        if hasattr(net.config, "quantization_config"):
            del net.config.quantization_config
        net.config.save_pretrained(beside)
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
        try:
            beside.rename(folder)
        except OSError:
            if not (folder / _DONE).is_file():  # another process was faster
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder
