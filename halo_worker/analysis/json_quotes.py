"""Quotes of JSON that was written again for a reader: found in what was recorded, whatever its spacing and escapes."""

from __future__ import annotations

import json
import re

SPACE, BLANK = r"\s*", r"\s+"  # between tokens of JSON, and between words
SHORTEST = 8  # characters; a shorter quote may be found anywhere by chance
_CALL = re.compile(r"(?:calls )?[\w.-]+\((?=[{\[])(.*?)\)?", re.DOTALL)  # as a step shows one: its arguments
# What stands before a text in a step (`tools.steps`), which readers copy with it.
_LABEL = re.compile(r"(?:\|\s*)?(?:says|returns|asked|given|user|tool|error|→)\s+(?=\S)")
_TOKENS = re.compile(r'\s+|\\*["/]|\\+n|\\+|.')


def unescaped(text: str) -> str:
    """Return a text that was copied out of JSON as what it stands for; itself where it is none."""
    try:
        value = json.loads(f'"{text}"')
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def meant(quote: str) -> list[str]:
    """Return the texts that a quote may stand for: itself, without JSON's escapes, without the label of a step."""
    bare = _LABEL.sub("", quote, count=1) if _LABEL.match(quote) else quote
    return list(dict.fromkeys((quote, unescaped(quote), bare, unescaped(bare))))


def recorded(quote: str, text: str) -> str | None:
    """Return the part of a text that a quote is, but for spaces between JSON tokens and for escapes; None without one.

    `"slot":"12:00"` is `\\"slot\\": \\"12:00\\"` where a call's arguments were recorded as a string inside of JSON.
    """
    call = _CALL.fullmatch(quote.strip())
    wanted = call[1] if call else quote.strip()
    if len(wanted) < SHORTEST or not any(sign in wanted for sign in '"{['):
        return None
    found = re.search(_pattern(wanted), text)
    return found[0] if found else None


def _pattern(quote: str) -> str:
    parts: list[str] = []
    for piece in _TOKENS.findall(quote):
        for part in _parts(piece):
            if part == SPACE and parts[-1:] == [BLANK]:
                parts[-1] = SPACE
            elif part not in (SPACE, BLANK) or parts[-1:] != [SPACE]:
                parts.append(part)
    return "".join(parts).removeprefix(SPACE).removesuffix(SPACE)


def _parts(piece: str) -> list[str]:
    if piece.isspace():
        return [BLANK]
    if piece in "{}[]:,":
        return [SPACE, re.escape(piece), SPACE]
    if piece[-1] in '"/':
        return [rf"\\*{piece[-1]}"]
    if piece[0] == "\\":
        return [r"(?:\\+n|\n)" if piece[-1] == "n" else r"\\+"]
    if piece.isascii():
        return [re.escape(piece)]
    escapes = json.dumps(piece)[1:-1].replace("\\", r"\\+")  # two for a character beyond the basic plane
    return [f"(?:{re.escape(piece)}|(?i:{escapes}))"]
