"""JSON out of a model's text: accepts what small models write for it."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

LOOSE_CHARACTERS = 100_000  # of text that is looked at again when it is no JSON
_TRIPLE = re.compile(r"(\"{3}|'{3})(.*?)\1", re.DOTALL)
_CODE = re.compile(r'("code"\s*:\s*)"(.*)"(\s*\}\s*\}?\s*)\Z', re.DOTALL)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)```", re.DOTALL)


def loads(text: str) -> Any:
    """Read JSON, and what small models write for it: line breaks in strings, Python's triple quotes and literals.

    Raises ValueError.
    """
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if len(text) > LOOSE_CHARACTERS:
            raise
        for repaired in (_TRIPLE.sub(lambda match: json.dumps(match[2].strip("\n")), text), _as_one_string(text)):
            try:
                return json.loads(repaired, strict=False)
            except (ValueError, RecursionError):
                continue
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            raise error from None
        if not isinstance(value, dict | list):
            raise
        return value


def _as_one_string(text: str) -> str:
    """Code whose quotes were not escaped: what stands between the first and the last quote is the value."""
    return _CODE.sub(
        lambda match: match[1] + json.dumps(match[2].replace("\\n", "\n").replace('\\"', '"')) + match[3], text
    )


def extract_json(text: str) -> Any:
    """Return the JSON value that a model's text holds: all of it, a fenced block, or the first object or array.

    Raises ValueError where there is none.
    """
    text = text.strip()
    for candidate in (text, *(block.strip() for block in _FENCE.findall(text))):
        try:
            return loads(candidate)
        except ValueError:
            continue
    decoder = json.JSONDecoder(strict=False)
    for start in (match.start() for match in list(re.finditer(r"[{\[]", text))[:50]):
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise ValueError("there is no JSON in it")
