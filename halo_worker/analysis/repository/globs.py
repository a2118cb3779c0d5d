"""Globs over paths, as .gitignore writes them, matched in linear time."""

from __future__ import annotations

import re

from halo_receiver.store.regex import Pattern
from halo_worker.errors import InputError
from halo_worker.rlm.tool import ToolError

_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?[^]/]+\]|\{[^{}]*\}|.", re.DOTALL)


def matching(pattern: str, paths: list[str]) -> list[str]:
    """Return the paths that match. Without a '/' the name alone is asked, at any depth."""
    try:
        regex = Pattern(regex_of(pattern))
    except InputError:
        raise ToolError(f"{pattern!r} is not a glob: write '*.py', 'src/**/*.ts' or '**/prompts/*'") from None
    try:
        return [paths[number] for number in regex.matching(paths)]
    finally:
        regex.close()


def regex_of(pattern: str) -> str:
    """Write a glob as a regular expression over the whole path: * ? ** [a-z] [!a] {a,b}."""
    plain = pattern.removeprefix("./").lstrip("/")
    if plain.endswith("/"):
        plain += "**"
    anchored = "/" in plain.rstrip("/")
    return ("^" if anchored else "^(?:.*/)?") + "".join(map(_translated, _PARTS.findall(plain))) + "$"


def _translated(part: str) -> str:
    if part == "**/":
        return "(?:.*/)?"
    if part == "**":
        return ".*"
    if part == "*":
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if part[0] == "[" and len(part) > 2:
        inner = part[1:-1].replace("\\", "\\\\")
        return f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
    if part[0] == "{" and len(part) > 1:
        choices = part[1:-1].split(",")
        return "(?:" + "|".join("".join(map(_translated, _PARTS.findall(one))) for one in choices) + ")"
    return re.escape(part)
