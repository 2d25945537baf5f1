"""Options of domain pairs: source and target, or both in one word for sweeps."""

from collections.abc import Iterable, Sequence

from tl_lab.errors import UserError, nearest

__all__ = ["name_pair"]


def name_pair(
    pair: str | None, source: str | Sequence[str] | None, target: str | None, domains: Iterable[str]
) -> tuple[list[str], str]:
    """Determine source and target.

    Args:
        pair: ``SOURCE_to_TARGET``, with several sources joined by ``+``, for sweeps over pairs; None
            to use the next two arguments.
        source: a domain or a list of domains.
        target: a domain.
        domains: names of the existing domains.

    Returns:
        The sources, and the target.

    Raises:
        UserError: a domain does not exist, occurs twice, or is missing.
    """
    if pair is not None:
        first, arrow, target = pair.partition("_to_")
        if not arrow:
            raise UserError(f"data.pair must be written SOURCE_to_TARGET, not {pair!r}; domains: {', '.join(domains)}")
        source = first.split("+")
    sources = [source] if isinstance(source, str) else list(source or ())
    if not sources or not target:
        raise UserError(f"data.source and data.target must be set; domains: {', '.join(domains)}")
    for name in (*sources, target):
        if name not in domains:
            raise UserError(f"there is no domain {name!r}; {nearest(name, domains)}")
    if target in sources:
        raise UserError(f"{target!r} is both source and target: choose two different domains")
    if len(set(sources)) < len(sources):
        raise UserError(f"data.source contains a domain twice: {', '.join(sources)}")
    return sources, target
