"""The harness of benchmarks/loop: which calls it takes, which are right, and what its second version does otherwise."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from benchmarks.loop.agent import REVISIONS, Agent, NoCallError, RefusedError, carry_out, parsed
from benchmarks.loop.tasks import Task, is_right

AREA = {
    "name": "area",
    "parameters": {
        "type": "object",
        "properties": {"base": {"type": "integer"}, "unit": {"type": "string"}},
        "required": ["base"],
    },
}
TASK = Task("t", "the area over a base of ten?", (AREA,), {"area": {"base": [10], "unit": ["", "square metres"]}})
COPIED = '{"name": "area", "arguments": {"type": "object", "properties": {"base": 10}}}'
RIGHT = '```json\n{"name": "area", "arguments": {"base": 10}}\n```'


class Scripted:
    """A client whose model says these replies, one after the other."""

    def __init__(self, *replies: str) -> None:
        self._replies = list(replies)
        self.asked: list[list[dict[str, str]]] = []
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._create))

    def _create(self, *, messages: list[dict[str, str]], **options: Any) -> Any:
        self.asked.append([*messages])
        self.form = options.get("response_format")
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=self._replies.pop(0)))])


def test_the_first_call_in_a_reply_is_parsed() -> None:
    assert parsed(f"Sure! {{not it}} {RIGHT} and more {{}}") == ("area", {"base": 10})
    with pytest.raises(NoCallError, match="Expecting"):
        parsed('{"name": "area", "arguments": {"base": }')


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("volume", {}, "no function 'volume', there are: area"),
        ("area", {"properties": {}}, "unknown argument 'properties'"),
        ("area", {"base": "ten"}, "in 'base': 'ten' is not of type 'integer'"),
        ("area", {}, "'base' is a required property"),
    ],
)
def test_a_call_that_the_schema_does_not_allow_is_refused(name: str, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        carry_out(name, arguments, {"area": AREA})


def test_values_are_right_as_the_possible_answers_say() -> None:
    assert is_right(TASK, "area", {"base": 10.0})
    assert is_right(TASK, "area", {"base": 10, "unit": "Square-Metres"})
    assert not is_right(TASK, "area", {"base": 10, "unit": "feet"})
    assert not is_right(TASK, "area", {"unit": ""})
    assert not is_right(TASK, "area", {"base": 10, "height": 1})


def test_the_second_version_shows_an_example_and_tells_the_model_why_a_call_was_refused() -> None:
    assert Agent(Scripted(COPIED), REVISIONS["1"])(TASK) is None
    client = Scripted(COPIED, RIGHT)
    assert Agent(client, REVISIONS["2"])(TASK) == ("area", {"base": 10})
    assert '{"name": "add", "arguments"' in client.asked[0][0]["content"]
    assert "unknown argument 'properties'" in client.asked[1][-1]["content"]
    assert json.dumps(AREA) in client.asked[1][0]["content"]


def test_the_third_version_lets_the_endpoint_hold_the_model_to_the_schema() -> None:
    client = Scripted(RIGHT)
    assert Agent(client, REVISIONS["3"])(TASK) == ("area", {"base": 10})
    schema = client.form["json_schema"]["schema"]
    jsonschema.validate(json.loads(RIGHT.strip("`json\n")), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(COPIED), schema)
