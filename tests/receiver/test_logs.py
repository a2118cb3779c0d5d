"""One event, one line, whatever its fields hold."""

from __future__ import annotations

import logging

import pytest

from halo_receiver.logs import event


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("", '""'),
        (1.5, "1.500"),
        ("bad key\n2026-11-24T06:00:00Z INFO all is well\x1b[2J\u202e", None),
    ],
)
def test_a_field_never_leaves_its_line(value: object, told: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """An error quotes what a client sent, and a client may send the line of another event."""
    with caplog.at_level(logging.INFO, logger="halo.test"):
        event(logging.getLogger("halo.test"), "request failed", reason=value)
    [line] = caplog.messages
    assert line.isprintable()
    assert told is None or line == f"request failed reason={told}"
