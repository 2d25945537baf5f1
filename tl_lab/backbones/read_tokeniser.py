"""Tokenisers of the library transformers, checked against the model that they belong to."""

from pathlib import Path
from typing import Any

from tl_lab.errors import UserError
from tl_lab.texts import listed

__all__ = ["check_tokeniser", "files_lacking", "read_tokeniser"]

_WHOLE = "tokenizer.json"  # every kind of tokeniser can be stored in it
_LEAST = 0.5  # of the model's rows that have a token; published models round their number up by far less


def read_tokeniser(source: str, display_name: str, published: int | None) -> Any:
    """Read the tokeniser of a model from local files, or if they are absent or incomplete, from the hub.

    The library builds a tokeniser without words where it finds no file of one, so that every word would become the
    unknown token; such a tokeniser is refused.

    Args:
        source: folder, or name on the hub.
        display_name: the name by which messages call it.
        published: number of tokens for which the model has a vector; None if it does not state it.

    Returns:
        The library's tokeniser.

    Raises:
        UserError: it cannot be read, or does not belong to the model.
    """
    from transformers import AutoTokenizer

    def fetch(local: bool) -> Any:
        try:
            made = AutoTokenizer.from_pretrained(source, local_files_only=local, trust_remote_code=False)
        except Exception as error:
            lacks = files_lacking(source, (_WHOLE,))
            first = (str(error).strip().partition("\n")[0] or type(error).__name__)[:160].rstrip(". :")
            advice = _advice(source) if lacks else ""
            raise UserError(
                f"backbone.name={display_name}: the tokeniser cannot be read ({lacks or first}){advice}"
            ) from error
        check_tokeniser(made, source, display_name, published)
        return made

    try:
        return fetch(local=True)
    except UserError:
        if Path(source).is_dir():
            raise
    return fetch(local=False)


def check_tokeniser(made: Any, source: str, display_name: str, published: int | None) -> None:
    """Refuse a tokeniser that has no words, or another number of tokens than the model.

    Args:
        made: the library's tokeniser.
        source: folder, or name on the hub, from which it was read.
        display_name: the name by which messages call it.
        published: number of tokens for which the model has a vector; None if it does not state it.

    Raises:
        UserError: the folder has no file of it; or it has special tokens only, far fewer tokens than the
            model, or more.
    """
    tokens = made.get_vocab()
    ordinary = set(tokens) - {str(token) for token in made.added_tokens_decoder.values()}
    added = len(tokens) - len(ordinary)
    lacks = files_lacking(source, (_WHOLE, *made.vocab_files_names.values()))
    matches = published is None or _LEAST * published <= len(tokens) <= published + added
    if ordinary and matches and not lacks:
        return
    if lacks:
        raise UserError(f"backbone.name={display_name}: {lacks}{_advice(source)}")
    rows = "" if published is None else f", and the model {published:,}"
    raise UserError(
        f"backbone.name={display_name}: the tokeniser does not belong to the model: it has {len(tokens):,} tokens{rows}"
        f"{_advice(source)}"
    )


def files_lacking(source: str, names: tuple[str, ...]) -> str:
    """Say that a folder has no file of a tokeniser.

    Args:
        source: folder, or name on the hub.
        names: of files, each of which could contain the tokeniser or a part of it.

    Returns:
        What the folder lacks; empty if it has one of the files, or another file of words, or is no folder.
    """
    folder = Path(source)
    if not folder.is_dir() or any(folder.glob("*.model")) or any(folder.glob("vocab.*")):
        return ""
    if any((folder / name).is_file() for name in names):
        return ""
    return f"the folder {folder} has no file of a tokeniser: none of {listed(list(dict.fromkeys(names)))}"


def _advice(source: str) -> str:
    if Path(source).is_dir():
        return "; copy the tokeniser's files of the model there, or write them with its save_pretrained"
    return "; give a folder with the model and its tokeniser"
