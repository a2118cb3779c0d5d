"""The entry of an MCP server in a file that belongs to others: only its own lines are written, changed and removed.

What comes out is read again and compared with what was meant; a file in a form that this does not master is left as it
is, and the error says what to write by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Literal

from halo_receiver.config_loader import parse_toml
from halo_worker.errors import InputError

Entry = dict[str, Any]
Form = Literal["json", "toml"]
PROGRAMS = ("halo", "halo-otel")

_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


def is_ours(entry: Any) -> bool:
    """Whether an entry starts `halo mcp`, with whatever options."""
    if not isinstance(entry, dict) or not isinstance(entry.get("args"), list):
        return False
    return PurePath(str(entry.get("command"))).stem in PROGRAMS and entry["args"][:1] == ["mcp"]


def registered(text: str, form: Form, table: str, name: str, entry: Entry | None) -> str:
    """Return the text of a file with the entry `name` in `table`; None takes it out.

    Of an entry that is there, keys that are not in `entry` stay. A file that would hold nothing becomes the empty text.
    Raises InputError, in words that a path can be put before, where the file cannot be read, or another server has
    the name.
    """
    read: Callable[[str], Any] = _read_json if form == "json" else parse_toml
    before = _parsed(text, form, read)
    there = before.get(table, {})
    if not isinstance(there, dict):
        raise InputError(f"holds a '{table}' that is no table", hint="mend it, then try again")
    old = there.get(name)
    if old is not None and not is_ours(old):
        if entry is None:
            return text
        raise InputError(f"has another MCP server '{name}'", hint="rename that one, then try again")
    new = None if entry is None else {**(old or {}), **entry}
    if new == old:
        return text
    wanted = _with(before, table, name, new)
    after = _EDIT[form](text, table, name, new, old)
    if not wanted and after.strip() in ("", "{}"):
        return ""
    try:
        if read(after) == wanted:
            return after
    except ValueError:
        pass
    what = "take out" if new is None else "write"
    raise InputError("is in a form that is not changed here", hint=f"{what} by hand: {_shown(form, table, name, new)}")


def _parsed(text: str, form: Form, read: Callable[[str], Any]) -> dict[str, Any]:
    try:
        found = read(text) if text.strip() else {}
    except ValueError as error:
        raise InputError(f"is no valid {form.upper()}: {error}", hint="mend it, then try again") from None
    if not isinstance(found, dict):
        raise InputError("holds no object", hint="mend it, then try again")
    return found


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def _with(before: dict[str, Any], table: str, name: str, new: Entry | None) -> dict[str, Any]:
    servers = {key: value for key, value in before.get(table, {}).items() if key != name}
    if new is not None:
        servers[name] = new
    return {key: value for key, value in before.items() if key != table} | ({table: servers} if servers else {})


def _shown(form: Form, table: str, name: str, new: Entry | None) -> str:
    if form == "json":
        return f'"{table}": {{"{name}": {json.dumps(new or {})}}}'
    return " / ".join(_toml_lines(table, name, new or {}))


# JSON: an object is edited where it stands, so that everything else keeps its bytes.


def _members(text: str, start: int) -> tuple[dict[str, tuple[int, int, int]], int]:
    """Return the members of the object at `start` as (start of the key, start and end of the value), and its end."""
    found: dict[str, tuple[int, int, int]] = {}
    place = _skip(text, start + 1)
    while text[place] != "}":
        key, after = _DECODER.raw_decode(text, place)
        value = _skip(text, _skip(text, after) + 1)
        _, end = _DECODER.raw_decode(text, value)
        found[key] = (place, value, end)
        place = _skip(text, end)
        place = _skip(text, place + 1) if text[place] == "," else place
    return found, place


def _skip(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    assert match is not None
    return match.end()


def _edit_json(text: str, table: str, name: str, new: Entry | None, old: Entry | None) -> str:
    if not text.strip():
        text = "{}\n"
    outer = _skip(text, 0)
    members, _ = _members(text, outer)
    if table not in members:
        return _put(text, outer, table, {name: new}, level=1)
    inner = members[table][1]
    servers, _ = _members(text, inner)
    if new is None:
        return _taken(text, outer, table) if len(servers) == 1 else _taken(text, inner, name)
    if old is not None:
        _, start, end = servers[name]
        return text[:start] + _indented(new, _indent_of(text, servers[name][0])) + text[end:]
    return _put(text, inner, name, new, level=2)


def _put(text: str, start: int, key: str, value: Any, *, level: int) -> str:
    """Append a member to the object at `start`, laid out as its last one is."""
    members, end = _members(text, start)
    if not members:
        inner, outer = "\n" + "  " * level, "\n" + "  " * (level - 1)
        return f"{text[: start + 1]}{inner}{json.dumps(key)}: {_indented(value, inner)}{outer}{text[end:]}"
    last_key, _, last_end = list(members.values())[-1]
    space = _indent_of(text, last_key)
    return f"{text[:last_end]},{space or ' '}{json.dumps(key)}: {_indented(value, space)}{text[last_end:]}"


def _taken(text: str, start: int, key: str) -> str:
    """Take a member out of the object at `start`, with one comma."""
    members, end = _members(text, start)
    places = list(members.values())
    at = list(members).index(key)
    if len(places) == 1:
        return text[: start + 1] + text[end:]
    if at:
        return text[: places[at - 1][2]] + text[places[at][2] :]
    return text[: places[0][0]] + text[places[1][0] :]


def _indent_of(text: str, place: int) -> str:
    """Return the line break and the spaces before a key; empty where it does not begin its line."""
    before = text[:place]
    space = before[len(before.rstrip()) :]
    return space[space.rindex("\n") :] if "\n" in space else ""


def _indented(value: Any, space: str) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False).replace("\n", space) if space else json.dumps(value)


# TOML: a block of lines at the end, from its header to the next one that is not below it.


def _toml_lines(table: str, name: str, new: Entry) -> list[str]:
    return [f"[{table}.{name}]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in new.items())]


def _edit_toml(text: str, table: str, name: str, new: Entry | None, old: Entry | None) -> str:
    if old is None and new is not None:
        end = "" if not text or text.endswith("\n") else "\n"
        return text + end + ("\n" if text.strip() else "") + "\n".join(_toml_lines(table, name, new)) + "\n"
    lines = text.splitlines(keepends=True)
    own = re.compile(rf"\s*\[\s*{table}\s*\.\s*{name}\s*(\.[^\]]*)?\]")
    kept: list[str] = []
    inside = False
    for line in lines:
        if line.lstrip().startswith("["):
            inside = own.match(line) is not None
            if inside and new is None and kept and not kept[-1].strip():
                kept.pop()
        key = line.partition("=")[0].strip()
        if not inside:
            kept.append(line)
        elif new is not None:
            changed = key in new and new[key] != (old or {}).get(key)
            kept.append(f"{key} = {json.dumps(new[key], ensure_ascii=False)}\n" if changed else line)
    return "".join(kept)


_EDIT: dict[Form, Callable[[str, str, str, Entry | None, Entry | None], str]] = {
    "json": _edit_json,
    "toml": _edit_toml,
}
