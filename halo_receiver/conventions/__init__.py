"""What a span means, whichever GenAI convention sent it."""

from __future__ import annotations

from typing import Any

from halo_receiver.span import Canonical, LogRecord, Span

MAPPING_VERSION = 0


def canonical(span: Span) -> Canonical:
    """Say what a span means."""
    del span
    return Canonical()


def from_log(record: LogRecord) -> dict[str, Any] | None:
    """Say what a log record tells of its span."""
    del record
    return None
