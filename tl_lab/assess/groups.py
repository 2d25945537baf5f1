"""Columns of the data that number groups of samples, and the groups' names."""

from collections.abc import Sequence

from tl_lab.assess.material import Material

__all__ = ["group_columns", "group_names"]

_MOST_GROUPS = 20
_NOT_GROUPS = frozenset({"time", "decile", "text_id", "index", "patient"})


def group_columns(material: Material, name: str) -> Sequence[str]:
    """List the columns by which a set's samples are compared: those of ``assess.groups``, or all that look like groups.

    Args:
        material: of the assessment.
        name: of the set.

    Raises:
        ValueError: the set lacks a column of ``assess.groups``.
    """
    known = material.drawn[name].columns
    if material.options.groups:
        if lacking := [one for one in material.options.groups if one not in known]:
            raise ValueError(f"the data have no column {lacking[0]!r}; they have {', '.join(known) or 'none'}")
        return material.options.groups
    return [
        one
        for one, values in known.items()
        if one not in _NOT_GROUPS and not values.is_floating_point() and 1 < len(values.unique()) <= _MOST_GROUPS
    ]


def group_names(material: Material, column: str) -> list[str]:
    """List the names of a column's groups, by number."""
    values = getattr(material.data, "column_values", {}).get(column)
    if values:
        return [str(value) for value in values]
    most = max(int(samples.columns[column].max()) for samples in material.whole.values() if column in samples.columns)
    return [f"{column} {number}" for number in range(most + 1)]
