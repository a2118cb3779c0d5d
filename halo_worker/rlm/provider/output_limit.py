"""How many output tokens an endpoint allows, read from a refusal in whatever words. Pure.

There is no common form: some name the parameter and its range, some the window with what prompt and answer take of it,
some only that it was too much. What was asked for is known, so the numbers of the message are read against it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIN_OUTPUT_TOKENS = 256  # asked for, however little room there seems to be
SMALLEST_LIMIT = 16  # a smaller number in a message is the lower end of a range, or part of a name

_GROUPED = re.compile(r"(?<![\w./\[(-])(\d{1,3})[,_](?=\d{3}(?!\d))", re.ASCII)
_NUMBER = re.compile(r"(?<![\w./-])(\d+)( ?[kK])?(?![\w/]|[.-]\w)", re.ASCII)
_OUTPUT = re.compile(
    r"max[_ ]?(?:completion|output|new|gen\w*|response)?[_ ]?(?:tokens|length)|num_predict|"
    r"(?:completion|output|response|answer|generat\w+|new|draft)[_ ](?:tokens?|length)|"
    r"tokens (?:in|for|of) the completion|"
    r"messages or completion|maximum (?:number of )?tokens|tokens? (?:count|limit|budget)|"
    r"requested[^.]{0,30}tokens|too many tokens",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context.{0,20}(length|window|size|limit)|maximum context|too many tokens|(prompt|input) is too long|"
    r"exceeds? the (available|maximum) (context|input)|reduce the length|input length",
    re.IGNORECASE,
)
_PROMPT = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(\d+)\W{0,3}(?:input|prompt)s?\b",
        r"(\d+) (?:tokens )?(?:in|from|of|for) (?:the |your |text )?(?:input|messages|prompt)\b",
        r"\b(?:prompt|input|request|messages)\b[^.\d]{0,20}"
        r"\b(?:contains?|has|have|is|are|resulted in)\b[^.\d]{0,20}?(\d+)",
    )
)
_REQUESTED = re.compile(r"requested:? (?:a total of )?(\d+)", re.IGNORECASE)  # of prompt and answer together
_WINDOW = re.compile(r"context[^.\d]{0,40}?(\d+)", re.IGNORECASE)
_BELOW = re.compile(
    r"(?:less|lower|smaller|fewer) than (?!or equal)[^\d]{0,10}(\d+)|(?:below|under) (\d+)|(\d+)(?:\)| \(exclusive)"
)


@dataclass(frozen=True, slots=True)
class Limit:
    """What a refusal tells. `context` holds prompt and answer together, `prompt` is this prompt as counted there."""

    output: int | None = None
    context: int | None = None
    prompt: int | None = None


def is_about_context(words: str) -> bool:
    """Whether a refusal speaks of the model's window."""
    return bool(_CONTEXT.search(words))


def is_about_output(words: str, asked: int) -> bool:
    """Whether a refusal may be about the number of output tokens that was asked for."""
    return bool(_OUTPUT.search(words)) or (asked in numbers(words) and asked != _window(words))


def numbers(words: str) -> list[int]:
    """The whole numbers of a text, in order; `8,192` and `8k` are numbers, parts of names, dates and ids are none."""
    return [int(digits) * (1_000 if k else 1) for digits, k in _NUMBER.findall(_GROUPED.sub(r"\1", words))]


def read(words: str, asked: int) -> Limit | None:
    """Return what a refusal of `asked` output tokens tells of the limit; None where it tells nothing that helps."""
    words = _GROUPED.sub(r"\1", words)
    found = numbers(words)
    prompt, window = _prompt(words, found, asked), _window(words)
    if prompt is not None:
        sizes = [one for one in found if SMALLEST_LIMIT <= one < prompt + asked and one not in (prompt, asked)]
        context = window if window in sizes else max(sizes, default=None)
        return Limit(context=context, prompt=prompt) if context else None
    if window is not None:
        return Limit(context=window)
    limits = [one for one in found if SMALLEST_LIMIT <= one < asked]
    if not limits or not is_about_output(words, asked):
        return None
    below = {int(number) for groups in _BELOW.findall(words) for number in groups if number}
    return Limit(output=max(limits) - (max(limits) in below))


def _window(words: str) -> int | None:
    """The size of the model's window, where it is named as that."""
    named = _WINDOW.search(words)
    return int(named[1]) if named and int(named[1]) >= SMALLEST_LIMIT else None


def _prompt(words: str, found: list[int], asked: int) -> int | None:
    """The tokens of the prompt: named as such, or a number that makes another one with what was asked."""
    for one in found:
        if one != asked and one >= SMALLEST_LIMIT and one + asked in found:
            return one
    if added := re.search(rf"(\d+) ?\+ ?{asked}\b", words):
        return int(added[1])
    for pattern in _PROMPT:
        for match in pattern.finditer(words):
            if int(match[1]) != asked:
                return int(match[1])
    total = _REQUESTED.search(words)
    return int(total[1]) - asked if total and int(total[1]) > asked else None
