"""Logs are events in the past tense with fields: `segment sealed segment=… spans=18240`. On stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Literal

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_EVENT = "halo_event"  # of a record: what happened, and the fields as they are

Form = Literal["text", "json"]
_form: Form = "text"


def set_up(level: str, form: Form = "text") -> None:
    """Log to stderr, one line an event, times in UTC; as JSON an object with time, level, event and its fields."""
    global _form
    _form = form
    formatter = _JSON() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s", _TIME)
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger("halo")
    root.handlers = [handler]
    root.setLevel(level.upper())
    root.propagate = False


def form_in_use() -> Form:
    """Return the form that was set up, for a child process to have it too."""
    return _form


class _JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        what, fields = getattr(record, _EVENT, (record.getMessage(), {}))
        told = {name: value if isinstance(value, int | float | None) else str(value) for name, value in fields.items()}
        head = {"time": self.formatTime(record, _TIME), "level": record.levelname, "event": what}
        return json.dumps({**head, **told, **head})  # in this order, and no field hides one of the head


def event(log: logging.Logger, what: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event."""
    told = "".join(f" {name}={_value(value)}" for name, value in fields.items())
    log.log(level, "%s%s", what, told, extra={_EVENT: (what, fields)})


def _value(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if not text.isprintable():  # an error may quote what a client sent: no line break, no escape of a terminal
        return json.dumps(text)
    return f'"{text}"' if " " in text or not text else text
