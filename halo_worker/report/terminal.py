"""The first screen of a report on a terminal: the sentence, the causes, the counts."""

from __future__ import annotations

import textwrap

from halo_worker.display import one_line
from halo_worker.report import causes, headline
from halo_worker.report.model import Report

WIDTH = 80
NARROW = 20


def summary(report: Report, *, width: int = WIDTH) -> str:
    """Write it in lines of at most `width` characters; a name that is longer than a line stays whole."""
    width = max(width, NARROW)
    first = causes.causes(report)
    lines = [*_wrapped(headline.headline(report), width)]
    if first:
        lines.append("")
    for number, cause in enumerate(first, 1):
        rest = "   "
        lines += _wrapped(cause.title, width, f"{number}  ", rest)
        lines += _wrapped(cause.line, width, rest, rest)
        if cause.symptoms:
            lines += _wrapped(f"also seen as: {'; '.join(cause.symptoms)}", width, rest, f"{rest}  ")
    if left := causes.remainder(report, first):
        lines += _wrapped(left, width, "   ", "   ")
    if figures := causes.counts(report):
        lines += ["", *_wrapped(figures, width)]
    return "\n".join(lines)


def _wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        one_line(text), width, initial_indent=first, subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
