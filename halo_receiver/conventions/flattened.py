"""Structures that were flattened into attribute keys: `prefix.N.rest` → lists in numeric order."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

MAX_DEPTH = 12


# The structure depends on the keys alone, and an agent's spans repeat them.
_SKELETONS: dict[tuple[str, tuple[str, ...]], Any] = {}
_MAX_SKELETONS, _MAX_SKELETON_KEYS = 2_048, 256


def gather(attributes: dict[str, Any], prefix: str) -> list[Any] | None:
    """Build the list under `prefix` (which ends in a dot); None when no key has it."""
    keys = tuple([key for key in attributes if key.startswith(prefix)])
    if not keys:
        return None
    if len(keys) > _MAX_SKELETON_KEYS or any(type(attributes[key]) is dict for key in keys):
        return _gather({key: attributes[key] for key in keys}, len(prefix))
    known = (prefix, keys)
    if known not in _SKELETONS:
        if len(_SKELETONS) >= _MAX_SKELETONS:
            _SKELETONS.clear()
        _SKELETONS[known] = _gather({key: key for key in keys}, len(prefix))
    skeleton = _SKELETONS[known]
    return None if skeleton is None else [_fill(item, attributes) for item in skeleton]


def _gather(values: dict[str, Any], start: int) -> list[Any] | None:
    root: dict[str, Any] = {}
    for key, value in values.items():
        # Members of a value join the structure: of its copy, for the attribute itself stays as sent.
        _put(root, key[start:].split(".", MAX_DEPTH), deepcopy(value) if type(value) is dict else value)
    built = _build(root)
    return built if isinstance(built, list) else None


def _fill(skeleton: Any, attributes: dict[str, Any]) -> Any:
    """Put the values in the place of their keys."""
    if type(skeleton) is str:
        return attributes[skeleton]
    if type(skeleton) is dict:
        return {key: _fill(item, attributes) for key, item in skeleton.items()}
    return [_fill(item, attributes) for item in skeleton]


def _put(node: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        child = node.get(step)
        if type(child) is not dict:
            child = node[step] = {}
        node = child
    node[path[-1]] = value


def _build(node: dict[str, Any]) -> Any:
    for key, value in node.items():
        if type(value) is dict:
            node[key] = _build(value)
    if all(key.isdecimal() for key in node):
        return [node[key] for key in sorted(node, key=lambda key: (len(key), key))]
    return node
