"""The blocks of a network and the layers of its parameters, whatever the network is."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from deixis.errors import DeixisError

__all__ = ["block_names", "blocks", "default_layers", "last_block", "layer_numbers"]


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


def block_names(model: nn.Module) -> list[str]:
    """The names of a network's blocks, from the first to the last: the children of its largest list of layers (or of a
    module that holds several of one kind) that convolve or that normalise states; none without such a list."""
    lists = {
        name: module for name, module in model.named_modules() if name and _is_list(module) and _has_places(module)
    }
    name = _largest(lists)
    return [f"{name}.{child}" for child, _ in lists[name].named_children()] if lists else []


def blocks(model: nn.Module) -> list[str]:
    """`block_names`; a network without a list of blocks is one, its last convolution.

    Raises:
        DeixisError: the network has neither.
    """
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    found = block_names(model) or convolutions[-1:]
    if not found:
        raise DeixisError("No list of blocks was found in the model.", "Name the layers: `names(model)` lists them.")
    return found


def default_layers(model: nn.Module) -> tuple[str, ...]:
    """The names of the blocks at a quarter and at three fifths of a network's depth, one where they are the same: fine
    enough to place a thing, and deep enough to know it.

    Raises:
        DeixisError: as for `blocks`.
    """
    there = blocks(model)
    return tuple(dict.fromkeys(there[int(share * (len(there) - 1))] for share in (0.25, 0.6)))


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
    name = _largest(lists)
    return (name, lists[name]) if lists else None


def _largest(lists: Mapping[str, nn.Module]) -> str:
    """The name of the one with the most parameters, of equals the outermost; empty where there is none."""
    sizes = {name: sum(each.numel() for each in module.parameters()) for name, module in lists.items()}
    return max(lists, key=lambda name: (sizes[name], -name.count(".")), default="")


def _is_list(module: nn.Module) -> bool:
    kinds = [type(child) for child in module.children()]
    return isinstance(module, nn.Sequential | nn.ModuleList) or (len(kinds) > 1 and len(set(kinds)) == 1)


def _has_places(module: nn.Module) -> bool:
    return any(isinstance(each, nn.Conv2d | nn.LayerNorm) for each in module.modules())
