"""Logs are events in the past tense with fields: `segment sealed segment=… spans=18240`. On stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any


def set_up(level: str) -> None:
    """Log to stderr, one line an event, times in UTC."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger("halo")
    root.handlers = [handler]
    root.setLevel(level.upper())
    root.propagate = False


def event(log: logging.Logger, what: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event."""
    told = "".join(f" {name}={_value(value)}" for name, value in fields.items())
    log.log(level, "%s%s", what, told)


def _value(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if not text.isprintable():  # an error may quote what a client sent: no line break, no escape of a terminal
        return json.dumps(text)
    return f'"{text}"' if " " in text or not text else text
