"""The blocks of a tower and the layers of its parameters, whatever the tower is."""

from __future__ import annotations

from torch import nn

__all__ = ["block_modules", "last_block", "layer_numbers"]

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


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


def block_modules(tower: nn.Module) -> tuple[nn.Module, ...]:
    """A tower's blocks, as `last_block` finds them; none where there is no list of them."""
    found = _list(tower)
    return () if found is None else tuple(found[1])


def layer_numbers(tower: nn.Module) -> dict[str, int]:
    """Name of a parameter -> number of its layer, from the input (0) to the output: before the blocks, each block, and
    behind them. A norm right behind the last block counts with that, as it does in timm.

    Args:
        tower: timm's, or one that holds such a network, numbered as timm does; or any whose blocks stand in a list.
    """
    inner, numbers = _numbered(tower)
    last, stem = max(numbers.values(), default=0), inner.rpartition(".")[0]
    place = {name: i for i, (name, _) in enumerate(tower.named_modules())}
    for name, _ in tower.named_parameters():
        owner = name.rpartition(".")[0]
        if name not in numbers:
            behind = bool(inner) and place[owner] > place[inner]
            close = owner.rpartition(".")[0] == stem and isinstance(tower.get_submodule(owner), _NORMS)
            numbers[name] = (last if close else last + 1) if behind else 0
    return numbers


def _numbered(tower: nn.Module) -> tuple[str, dict[str, int]]:
    """The name of the network that has layers, and the numbers of the parameters in it."""
    for name, module in tower.named_modules():
        if hasattr(module, "group_matcher"):
            from timm.models import group_parameters

            prefix = f"{name}." if name else ""
            numbers = group_parameters(module, module.group_matcher(coarse=False), reverse=True)
            return name, {f"{prefix}{each}": number for each, number in numbers.items()}
    found = _list(tower)
    if found is None:
        return "", {}
    name, held = found
    return name, {f"{name}.{i}.{each}": i + 1 for i, block in enumerate(held) for each, _ in block.named_parameters()}


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
