"""The templates of reports and pages: what they may write, and how text of strangers is escaped in them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from halo_worker.display import cut, one_line, visible
from halo_worker.report import formats

MAX_STRING = 8000  # of any one text on a page; report.json holds it whole

_FILTERS = (
    "count", "short", "dollars", "duration", "minute", "day", "plural", "cut", "chance", "left_out", "set_aside",
    "released", "fix_check",
)  # fmt: skip


def environment(*packages: str) -> Environment:
    """Return an environment over the `templates` of packages; every text it writes is made visible and escaped."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    for name in _FILTERS:
        made.filters[name] = getattr(formats, name)
    for name in ("percent", "since"):  # a figure and its sign stay on one line
        made.filters[name] = _joined(getattr(formats, name))
    made.filters["unbroken"] = _joined(str)
    made.filters["cause_label"] = formats.cause_label
    made.filters["how_found"] = formats.how_found
    made.filters["shell"] = lambda text: shlex.quote(one_line(text))  # ids of imported files may be anything
    return made


def _shown(value: Any) -> Any:
    """Every string that a template writes passes here, before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(cut(value, MAX_STRING))
    return value


def _joined(write: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: write(value).replace(" %", "\N{NO-BREAK SPACE}%")
