"""Messages of any shape, read in C, against the reference: objects of every member and every kind that either knows."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from halo_receiver import wire
from halo_receiver.conventions import flattened, message_summary, messages, parts
from halo_receiver.conventions.meaning import finish_reason
from halo_receiver.conventions.readings import Lookup, Reading
from halo_receiver.conventions.sources import Choices, Events
from halo_receiver.span import Scope, Span, SpanEvent

pytestmark = pytest.mark.skipif(not wire.available(), reason="the wire scanner is not built: no C compiler")
ROUNDS = int(os.environ.get("HALO_FUZZ", "400")) * 10
SOURCE = (Path(wire.__file__).parent / "tree.h").read_text()
MEMBERS = [*re.findall(r'M\([A-Z0-9_]+, "([^"]+)"\)', SOURCE), "further", "", "é"]
USUAL = ["role", "content", "parts", "type", "text", "tool_calls", "id", "name", "message", "function", "arguments",
         "finish_reason", "event.name", "tool_call_id", "result", "output", "kwargs", "messages", "system"]  # fmt: skip
KINDS = [*parts.FLAGS, "message", "human", "HumanMessage", "", "unknown", "gen_ai.choice", "gen_ai.user.message"]
ROLES = ["user", "assistant", "system", "tool", "Human", "AI", "developer", "model", "other", "Tool", "", "é"]
WORDS = ["", "a", "hello\nworld", 'é"\\', "[1]", '{"a":1}', '{"a":[1.5,{"b":"\\u00e9"}]}', '"q"', "stop", "{bad",
         ' {"x":1}', '[{"id":"c","name":"f","args":{}}]', "\u00a0{}", '{"tool_calls":[{"id":"x"}]}',
         '[{"type":"image","mime_type":"image/png"}]', "\x1f[]"]  # fmt: skip
NUMBERS = [0, 1, -5, 1.5, 0.0, -0.0, 10**18, 10**19, 1e300, 1e-7, 123456.789]
DAMAGE = ['"', "\\", "}", "]", ",", "[", "{", "é", "\ud800", "", "\\ud83d", "1e400", "NaN", "\x00", " ", "\\u0000", "0"]
PLACES = ["0", "1", "2", "10", "01", "x", "", "7", "é", "٣"]


class Shapes:
    """Makes values of messages at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int, key: str = "") -> Any:
        """Any value; of a role or a kind mostly one that is known."""
        draw = self.random
        if key in ("role", "type", "event.name") and draw.random() < 0.85:
            return draw.choice(ROLES if key == "role" else KINDS)
        chance = draw.random()
        if depth <= 0 or chance < 0.4:
            return draw.choice(
                [draw.choice(WORDS), draw.choice(WORDS), draw.choice(KINDS), draw.choice([None, True, False, *NUMBERS])]
            )
        if chance < 0.65:
            return [self.value(depth - 1) for _ in range(draw.randint(0, 3))]
        if chance < 0.7:
            return {"type": draw.choice(["json", "text"]), "value": self.value(depth - 1)}
        return self.object(depth - 1)

    def object(self, depth: int) -> dict[str, Any]:
        """An object of known members, mostly."""
        keys = [
            self.random.choice(USUAL if self.random.random() < 0.7 else MEMBERS)
            for _ in range(self.random.randint(0, 5))
        ]
        return {key: self.value(depth, key) for key in keys}

    def text(self) -> str:
        """JSON, sometimes damaged."""
        value = (
            [self.object(4) for _ in range(self.random.randint(1, 3))] if self.random.random() < 0.6 else self.object(5)
        )
        text = json.dumps(value, ensure_ascii=self.random.random() < 0.5)
        if self.random.random() < 0.2:
            at = self.random.randrange(len(text) + 1)
            text = text[:at] + self.random.choice(DAMAGE) + text[at + self.random.randint(0, 1) :]
        return text

    def attributes(self) -> dict[str, Any]:
        """A list that was flattened into keys, not always a proper one."""
        found: dict[str, Any] = {}
        for _ in range(self.random.randint(1, 8)):
            steps = [self.random.choice(PLACES)]
            for _ in range(self.random.randint(0, 5)):
                steps.append(
                    self.random.choice(
                        [*USUAL, "tool_call", "message_content", "contents"] if self.random.random() < 0.6 else PLACES
                    )
                )
            found["p." + ".".join(steps)] = self.random.choice(
                [*WORDS, *ROLES, *KINDS] if self.random.random() < 0.95 else [1, None, ["a"], {"a": 1}, 2.5]
            )
        return found


def expected(value: Any, role: str) -> tuple[Any, ...]:
    """What the reference makes of a value."""
    found = messages.read(value, role)
    return tuple(message_summary.summarize(found, finish_reason)) if found else ()


def test_messages_of_any_shape_are_read_alike() -> None:
    shapes, sure = Shapes(1), 0
    for _ in range(ROUNDS):
        text, role = shapes.text(), shapes.random.choice(["user", "assistant", "tool", "system"])
        found = wire.messages(text, None, role, finish_reason)
        if found is not None:
            sure += 1
            assert found == expected(text, role), text
    assert sure > ROUNDS // 2


def test_flattened_messages_of_any_shape_are_read_alike() -> None:
    shapes, sure = Shapes(2), 0
    for _ in range(ROUNDS // 2):
        attributes = shapes.attributes()
        found = wire.messages(attributes, "p.", "user", finish_reason)
        if found is not None:
            sure += 1
            assert found == expected(flattened.gather(attributes, "p."), "user"), attributes
    assert sure > ROUNDS // 20


def test_messages_of_events_and_choices_are_read_alike() -> None:
    """What sources.Events and sources.Choices hand to C, against what they make in Python."""
    shapes, sure = Shapes(3), 0
    events = Events({"key": "content", "events": {"e.user": "user", "e.tool": "tool", "e.choice": "assistant"}})
    choices = [Choices({"key": "k", "choices": wanted}) for wanted in (False, True)]
    for _ in range(ROUNDS // 2):
        draw = shapes.random
        span = Span("", "", "", "", Scope(), attributes={"k": shapes.text()})
        for _ in range(draw.randint(0, 3)):
            values = {"content": shapes.text() if draw.random() < 0.6 else shapes.value(0)}
            values |= {key: shapes.value(0) for key in ("finish_reason", "id") if draw.random() < 0.5}
            span.events.append(SpanEvent(1, draw.choice(["e.user", "e.tool", "e.choice", "e.other"]), values))
        reading = Reading(span, span.attributes)
        sources: tuple[Lookup, ...] = (events, *choices)
        for source in sources:
            where, how = source.messages(reading)
            found = None if where is None else wire.messages(where, how, "user", finish_reason)
            if found is not None:
                sure += 1
                value = source.read(reading)
                assert found == (() if value is None else expected(value, "user")), span
    assert sure > ROUNDS // 4
