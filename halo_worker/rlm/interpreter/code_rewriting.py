"""Rewrites Python that the interpreter does not support, before code runs: methods as values, next(), del.

Models write these again and again, whatever the prompt says, and each would cost a turn. Line numbers are kept.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

REWRITTEN_CHARACTERS = 20_000  # longer code is run as it is
_TYPES = frozenset({"str", "int", "float", "bytes", "list", "dict", "set", "tuple"})
Edit = tuple[int, int, str]  # start and end in bytes, and the replacement


def rewrite(code: str) -> str:
    """Return code that means the same; code that cannot be parsed is returned as it is.

    `key=counts.get` and `map(str.upper, …)` become lambdas; `next(x for …)` is given an iterator; `del d[k]` becomes
    `d.pop(k)`, and `del name` gives the name None.
    """
    if len(code) > REWRITTEN_CHARACTERS:
        return code
    try:
        tree = ast.parse(code)
        raw = code.encode()
        edits = sorted(_edits(tree, _Source(raw)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    out, at = [], 0
    for start, end, text in edits:
        if start >= at:  # an edit inside another is skipped
            out += [raw[at:start], text.encode()]
            at = end
    return b"".join([*out, raw[at:]]).decode()


class _Source:
    """The positions of nodes in the code."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._lines = [0]
        for line in raw.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Return start and end, in bytes."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._lines[node.lineno - 1] + node.col_offset, self._lines[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        """Return the code of a node."""
        start, end = self.span(node)
        return self._raw[start:end].decode()


def _edits(tree: ast.AST, source: _Source) -> Iterator[Edit]:
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "key" and isinstance(node.value, ast.Attribute):
            yield (*source.span(node.value), _as_lambda(node.value, source))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            given = node.args[0]
            if node.func.id in ("map", "filter") and isinstance(given, ast.Attribute):
                yield (*source.span(given), _as_lambda(given, source))
            elif node.func.id == "next" and isinstance(given, ast.GeneratorExp):
                alone = len(node.args) == 1  # the parentheses of the call are then those of the generator
                text = source.text(given)
                yield (*source.span(given), f"(iter{text})" if alone else f"iter{text}")
        elif isinstance(node, ast.Delete):
            yield (*source.span(node), "; ".join(_as_removal(target, source) for target in node.targets))


def _as_lambda(node: ast.Attribute, source: _Source) -> str:
    if isinstance(node.value, ast.Name) and node.value.id in _TYPES:
        return f"lambda _v: _v.{node.attr}()"
    return f"lambda *_v: {source.text(node)}(*_v)"


def _as_removal(target: ast.expr, source: _Source) -> str:
    if isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
        return f"{source.text(target.value)}.pop({source.text(target.slice)})"
    if isinstance(target, ast.Name):
        return f"{target.id} = None"
    raise ValueError("a removal of another kind")
