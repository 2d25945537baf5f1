"""Layer groups of networks from other libraries."""

from collections.abc import Iterator
from itertools import chain

from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup

__all__ = [
    "TRUNKS",
    "LooseTensors",
    "cut",
    "group_by_structure",
    "groups_of",
    "join_weightless",
    "merge_groups",
    "partition",
    "regroup",
]

TRUNKS = {
    "blocks",
    "dense_stages",
    "features",
    "layers",
    "stages",
    "trunk_output",
}  # names of the list of blocks in libraries
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


class LooseTensors(nn.Module):
    """Holds parameters and buffers that belong to a network itself and not to one of its layers.

    Args:
        tensors: the network's own tensors by their dotted names.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            name = name.replace(".", "_")
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)


def partition(root: nn.Module, group_of: dict[str, int]) -> list[list[nn.Module]]:
    """Find the largest modules that are entirely within one group.

    A module without tensors (dropout, pooling) belongs to the group of its predecessor, so that freezing the group also
    switches this module to evaluation mode.

    Args:
        root: the network.
        group_of: number of the group, from 0, for each parameter and buffer by its dotted name; for a tensor that is
            used in several places, one name is sufficient.

    Returns:
        The modules of each group, in the order of the network.
    """
    groups: list[list[nn.Module]] = [[] for _ in range(1 + max(group_of.values(), default=-1))]
    owner: dict[int, int] = {}
    for name, tensor in _tensors(root):
        if name in group_of:
            owner.setdefault(id(tensor), group_of[name])
    placed: set[int] = set()
    current = 0

    def place(module: nn.Module, prefix: str) -> None:
        nonlocal current
        inside = {id(tensor) for _, tensor in _tensors(module)}
        found = {owner[key] for key in inside}
        if len(found) <= 1 and not inside & placed:
            current = found.pop() if found else current
            placed.update(inside)
            if groups:
                groups[current].append(module)
            return
        loose: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _tensors(module, recurse=False):
            if id(tensor) not in placed:  # otherwise it is used in two places and belongs to the first
                placed.add(id(tensor))
                loose.setdefault(owner[id(tensor)], {})[prefix + name] = tensor
        for number, tensors in loose.items():
            groups[number].append(LooseTensors(tensors))
        for name, child in module.named_children():
            place(child, f"{prefix}{name}.")

    place(root, "")
    return groups


def group_by_structure(root: nn.Module) -> tuple[list[str], dict[str, int]]:
    """Group a network's tensors by its blocks: the stem, then each block or stage in order.

    A block is a part with two or more weight matrices. Smaller parts (a single convolution, a norm, a class token)
    belong to the stem if they are before the first block, and otherwise to the block before them. A chain of layers
    without blocks is cut after each pooling.

    Args:
        root: the network.

    Returns:
        The groups' names, and the number of the group of each parameter and buffer by its dotted name.
    """
    parts = list(_parts(root, ""))
    chain_of_layers = not any(_is_block(part) for _, part in parts)
    names: list[str] = []
    group_of: dict[str, int] = {}
    pooled = False
    for path, part in parts:
        tensors = [path] if isinstance(part, Tensor) else [f"{path}.{name}" for name, _ in _tensors(part)]
        if chain_of_layers and tensors and (pooled or not names):
            names.append(f"stage{len(names) + 1}")
        elif _is_block(part):
            names.append(path)
        elif tensors and not names:
            names.append("stem")
        pooled = isinstance(part, _POOLS) or (pooled and not tensors)
        group_of.update(dict.fromkeys(tensors, len(names) - 1))
    return names, group_of


def join_weightless(root: nn.Module, titles: list[str], group_of: dict[str, int]) -> tuple[list[str], dict[str, int]]:
    """Join each group without a weight matrix (a last norm, a single scale) to the block to which it belongs.

    Such a group would otherwise be unfrozen first, although it has hardly any parameters, and would shift the learning
    rate of every block by one step. It is joined to the group before it; groups before the first matrix are joined to
    the group of that matrix.

    Args:
        root: the network.
        titles: the groups' names, shallow to deep.
        group_of: number of the group of each parameter and buffer by its dotted name.

    Returns:
        Names and numbers of the remaining groups, in the same order.
    """
    weighty = {group_of[name] for name, tensor in _tensors(root) if name in group_of and _is_matrix(tensor)}
    if not weighty:
        return titles, group_of
    kept = sorted(weighty)
    place = {number: max(0, sum(one <= number for one in kept) - 1) for number in range(len(titles))}
    return [titles[number] for number in kept], {name: place[number] for name, number in group_of.items()}


def cut(root: nn.Module, titles: list[str], group_of: dict[str, int], most: int | None) -> list[LayerGroup]:
    """Divide a network into layer groups: join those without weights to their blocks, then neighbours if too many.

    Args:
        root: the network.
        titles: names of the groups, shallow to deep.
        group_of: number of the group of each parameter and buffer by its dotted name.
        most: largest number of groups; None for no limit.
    """
    titles, group_of = join_weightless(root, titles, group_of)
    return merge_groups(list(zip(titles, partition(root, group_of), strict=True)), most)


def merge_groups(groups: list[LayerGroup], most: int | None) -> list[LayerGroup]:
    """Join neighbouring groups up to a largest number of groups.

    Args:
        groups: shallow to deep.
        most: largest number of groups; None for no limit.

    Returns:
        Groups of approximately equal length, shallow to deep, named ``first..last`` if several were joined.
    """
    if most is None or len(groups) <= most:
        return groups
    merged = []
    for number in range(most):
        part = groups[number * len(groups) // most : (number + 1) * len(groups) // most]
        name = part[0][0] if len(part) == 1 else f"{part[0][0]}..{part[-1][0]}"
        merged.append((name, [module for _, modules in part for module in modules]))
    return merged


def groups_of(backbone: Backbone) -> list[LayerGroup]:
    """Return a backbone's layer groups; an adapter does not change them, except that its parameters are added."""
    if backbone.regrouped is None:
        return backbone.layer_groups()
    titles, group_of = backbone.regrouped
    return list(zip(titles, partition(backbone, group_of), strict=True))


def regroup(backbone: Backbone, groups: list[LayerGroup], title: str = "adapter") -> None:
    """Add the tensors of an adapter to a backbone's layer groups.

    A tensor that was added to a layer belongs to the layer's group. Tensors without a layer (a prompt) form a separate
    group at the top, which is unfrozen first and has the learning rate of the top.

    Args:
        backbone: with the adapter; its old tensors are the same objects as before.
        groups: the groups without the adapter.
        title: of the group at the top, if there is one.
    """
    owner = {id(tensor): n for n, (_, parts) in enumerate(groups) for part in parts for _, tensor in _tensors(part)}
    names = dict(_tensors(backbone))
    group_of = {name: owner[id(tensor)] for name, tensor in names.items() if id(tensor) in owner}
    places: dict[str, set[int]] = {}
    for name, number in group_of.items():
        for prefix in _prefixes(name):
            places.setdefault(prefix, set()).add(number)
    titles = [name for name, _ in groups]
    for name in names.keys() - group_of.keys():
        around = next((found for prefix in _prefixes(name) if (found := places.get(prefix))), set())
        group_of[name] = around.copy().pop() if len(around) == 1 else len(groups)
    backbone.regrouped = ([*titles, title] if len(groups) in group_of.values() else titles, group_of)


def _prefixes(name: str) -> Iterator[str]:
    """List the paths of the modules that contain a tensor, from the innermost."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _tensors(module: nn.Module, recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
    # A tensor that is used in two places is listed under both names, because each place must be recognised.
    return chain(
        module.named_parameters(recurse=recurse, remove_duplicate=False),
        module.named_buffers(recurse=recurse, remove_duplicate=False),
    )


def _parts(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module | Tensor]]:
    for name, tensor in _tensors(module, recurse=False):
        yield prefix + name, tensor
    for name, child in module.named_children():
        holds_trunk = any(inner in TRUNKS for inner, _ in child.named_children())
        if (name in TRUNKS and len(list(child.children())) > 1) or (holds_trunk and not prefix):
            yield from _parts(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _is_block(part: nn.Module | Tensor) -> bool:
    return isinstance(part, nn.Module) and sum(weight.ndim > 1 for weight in part.parameters()) > 1


def _is_matrix(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and sum(side > 1 for side in tensor.shape) > 1
