"""Where a tower's last block begins, whatever the tower is."""

from __future__ import annotations

from torch import nn

__all__ = ["blocks", "last_block"]


def last_block(tower: nn.Module) -> tuple[str, ...]:
    """Prefixes of the parameters of a tower's last block and of the layers behind it in the same network.

    A tower's blocks are the children of the `nn.Sequential` or `nn.ModuleList` with the most parameters that has at
    least two; what is registered after that list, in the module that holds it, lies behind.

    Args:
        tower: timm's, ours, or any other whose blocks stand in a list.

    Returns:
        Prefixes that end in a dot; a tower without such a list is one block: `("",)`.
    """
    found = _list(tower)
    if found is None:
        return ("",)
    name, held = found
    parent, _, own = name.rpartition(".")
    children = [child for child, _ in tower.get_submodule(parent).named_children()]
    behind = children[children.index(own) + 1 :]
    stem = f"{parent}." if parent else ""
    return (f"{name}.{len(held) - 1}.", *(f"{stem}{child}." for child in behind))


def blocks(tower: nn.Module) -> tuple[nn.Module, ...]:
    """A tower's blocks, as `last_block` finds them; none where there is no list of them."""
    found = _list(tower)
    return () if found is None else tuple(found[1])


def _list(tower: nn.Module) -> tuple[str, nn.Sequential | nn.ModuleList] | None:
    lists = {
        name: module
        for name, module in tower.named_modules()
        if isinstance(module, nn.Sequential | nn.ModuleList) and len(module) > 1
    }
    if not lists:
        return None
    name = max(lists, key=lambda each: (_size(lists[each]), -each.count(".")))
    return name, lists[name]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
