"""One event, one line, whatever its fields hold."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from halo_receiver import logs
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


def test_a_json_log_has_time_level_event_and_the_fields_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, for programs: numbers stay numbers, and no field takes the place of what every line has."""
    logs.set_up("info", "json")
    try:
        log = logging.getLogger("halo.test")
        event(log, "segment sealed", spans=3, seconds=0.25, file=Path("a b"), level=logging.WARNING, time="never")
        log.warning("plain %s", "words\n")
    finally:
        logs.set_up("info")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first.pop("time"))
    assert first == {"level": "WARNING", "event": "segment sealed", "spans": 3, "seconds": 0.25, "file": "a b"}
    assert second["event"] == "plain words\n"
