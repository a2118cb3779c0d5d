"""Structures that were flattened into attribute keys: `prefix.N.rest` → lists in numeric order."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 12


def gather(attributes: dict[str, Any], prefix: str) -> list[Any] | None:
    """Build the list under `prefix` (which ends in a dot); None when no key has it."""
    root: dict[str, Any] = {}
    start = len(prefix)
    for key, value in attributes.items():
        if key.startswith(prefix):
            _put(root, key[start:].split(".", MAX_DEPTH), value)
    if not root:
        return None
    built = _build(root)
    return built if isinstance(built, list) else None


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
