"""Names of data sets that are listed in other data: by their choice, or by the folder or file that they read."""

from collections.abc import Sequence
from pathlib import Path

from tl_lab.data.base import DataModule
from tl_lab.data.roots import absolute_places

__all__ = ["names_of", "places_of_alike", "same_sets"]


def places_of_alike(kinds: Sequence[str], modules: Sequence[DataModule]) -> list[Path | None]:
    """Return the folder or file that each set reads, as given; None for a set whose choice occurs once.

    Args:
        kinds: choice of each set, or its class.
        modules: the sets.
    """
    return [_place_of(one) if kinds.count(kind) > 1 else None for one, kind in zip(modules, kinds, strict=True)]


def same_sets(kinds: Sequence[str], places: Sequence[Path | None]) -> list[int]:
    """Return for each set the number of the first one with the same choice, folder or file."""
    which = [(kind, place and place.resolve()) for kind, place in zip(kinds, places, strict=True)]
    return [which.index(one) for one in which]


def names_of(kinds: Sequence[str], places: Sequence[Path | None]) -> list[str]:
    """Name sets by their choice or class; sets of one kind by the folder or file that they read.

    A name has as many parent folders as tell it apart from the others. Sets that cannot be told apart have equal names.

    Args:
        kinds: choice of each set, or its class.
        places: folder or file of each set of a kind that occurs more than once.
    """
    first = same_sets(kinds, places)
    short = [kind if place is None else _short(place, places) for kind, place in zip(kinds, places, strict=True)]
    above = [() if place is None else place.parts[1:-1] for place in places]
    used = dict.fromkeys(first, 0)  # numbers of parent folders in the names
    while True:
        names = {i: "_".join([*above[i][len(above[i]) - n :], short[i]]) for i, n in used.items()}
        alike = [i for i, name in names.items() if [*names.values()].count(name) > 1]
        longer = [i for i in alike if used[i] < len(above[i])]
        if not longer:
            return [names[i] for i in first]
        for i in longer:
            used[i] += 1


def _place_of(data: DataModule) -> Path | None:
    """Return the absolute path of the folder or file that a set reads; None if it has no such option or several."""
    places = [getattr(data, option, None) for option in data.place_options]
    place = next((place for place in places if isinstance(place, str | Path)), None)
    if place is None:
        return None
    found = Path(str(absolute_places(str(place))))
    return found.resolve() if ".." in found.parts else found  # a link keeps the name that it was given by


def _short(place: Path, places: Sequence[Path | None]) -> str:
    """Return the name of a folder, or of a file without its ending if no other place differs from it in this alone."""
    others = [one.with_suffix("") if one.is_file() else one for one in places if one and one != place]
    return place.stem if place.is_file() and place.with_suffix("") not in others else place.name
