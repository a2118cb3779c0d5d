"""Sub-calls: in order, in parallel, bounded, validated with repair, cached; errors are objects."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import subcalls
from halo_worker.rlm.budget import BudgetLimits
from halo_worker.rlm.json_schema import BadSchema, Validator
from halo_worker.rlm.lenient_json import extract_json
from halo_worker.rlm.messages import Message
from halo_worker.rlm.provider.openai_model import OpenAIModel
from halo_worker.rlm.provider.response_cache import ResponseCache
from tests.scripted_model import Fault, Request, Say, Scripted
from tests.worker.rlm.conftest import NewSession, tool

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


async def test_results_stand_in_the_order_of_the_prompts_and_run_side_by_side(
    scripted_model: Scripted, session: NewSession
) -> None:
    server = scripted_model(lambda request: Say(f"re {request.last}", delay=0.3 - int(request.last) * 0.02))
    results = await session(server, limits=BudgetLimits(parallel=4)).batch([str(n) for n in range(12)])
    assert [result.value for result in results] == [f"re {n}" for n in range(12)]
    assert server.most_in_flight == 4


async def test_what_waited_for_the_first_answer_is_then_asked_at_once(
    scripted_model: Scripted, session: NewSession
) -> None:
    server = scripted_model(lambda request: Say("well", delay=0.3))
    await session(server, limits=BudgetLimits(parallel=6)).batch([str(n) for n in range(6)])
    assert server.most_in_flight == 5


async def test_a_slow_answer_of_a_sub_model_is_neither_cut_nor_paid_twice(
    scripted_model: Scripted, session: NewSession
) -> None:
    """Sub-calls stream, and the timeout is between two events: this answer takes several times as long."""
    server = scripted_model([Say("so far, three of them failed " * 6, pause=0.15)])
    model = OpenAIModel("m", base_url=server.base_url, api_key="none", request_timeout_seconds=0.75)
    result = await session(server, sub=model).query("?")
    assert result.value == "so far, three of them failed " * 6
    assert [request.stream for request in server.requests] == [True]


async def test_json_is_validated_and_repaired(scripted_model: Scripted, session: NewSession) -> None:
    server = scripted_model([Say('{"n": "one"}'), Say("no idea"), Say('Here:\n```json\n{"n": 1}\n```')])
    result = await session(server).query("?", schema=SCHEMA)
    assert result.value == {"n": 1}
    assert "$.n: 'one' is not of type 'integer'" in server.requests[1].last
    assert "there is no JSON in it" in server.requests[2].last
    assert server.requests[0].body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([Say("no")] * 3, "invalid"),
        ([Say('{"n": 1', finish_reason="length")] * 3, "truncated"),
        ([Say(refusal="no")], "refused"),
        ([Fault(400, "content_filter")], "refused"),
        ([Fault(400, "context_length_exceeded")], "refused"),
        ([Fault(503)] * 3, "unavailable"),
    ],
)
async def test_an_error_is_an_object_with_a_type(
    scripted_model: Scripted, session: NewSession, script: Any, kind: str
) -> None:
    result = await session(scripted_model(script), max_retries=2).query("?", schema=SCHEMA)
    assert result.value is None
    assert result.error
    assert result.error["type"] == kind
    assert result.error["message"]


async def test_a_text_that_was_cut_is_told_and_kept_apart(scripted_model: Scripted, session: NewSession) -> None:
    result = await session(scripted_model([Say("half of", finish_reason="length")])).query("?")
    assert result.error == {
        "type": "truncated", "message": "the answer was longer than allowed: ask for less at once", "partial": "half of"
    }  # fmt: skip


async def test_what_was_asked_is_not_paid_again(scripted_model: Scripted, session: NewSession, tmp_path: Path) -> None:
    """A nightly rerun pays for new spans only; another model, system prompt or schema is another question."""
    server = scripted_model(lambda request: Say(f"{len(server.requests)}"))
    first = await session(server).batch(["a", "b"])
    again = await session(server, work_dir=tmp_path / "next").batch(["b", "a", "c"])
    assert [result.value for result in again[:2]] == [first[1].value, first[0].value]
    assert [result.cached for result in again] == [True, True, False]
    one = session(server, work_dir=tmp_path / "third")
    assert not (await one.query("a", system="Another.")).cached
    assert not (await one.query("a", schema={"type": "integer"})).cached


async def test_the_same_question_at_once_is_asked_once(scripted_model: Scripted, session: NewSession) -> None:
    server = scripted_model(lambda _: Say("x", delay=0.05))
    results = await session(server, cache_dir=None).batch(["a"] * 10)
    assert [result.value for result in results] == ["x"] * 10
    assert len(server.requests) == 1


async def test_who_waits_for_the_same_question_outlives_the_one_who_asked(
    scripted_model: Scripted, session: NewSession
) -> None:
    server = scripted_model(lambda _: Say("x", delay=0.1))
    one = session(server)
    first, second = asyncio.create_task(one.query("a")), asyncio.create_task(one.query("a"))
    while not server.requests:
        await asyncio.sleep(0.01)
    first.cancel()
    assert (await second).value == "x"


async def test_an_error_is_not_cached(scripted_model: Scripted, session: NewSession) -> None:
    one = session(scripted_model([Fault(400, "content_filter"), Say("x")]))
    assert (await one.query("a")).error
    assert (await one.query("a")).value == "x"


def test_the_cache_is_safe_for_processes_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from halo_worker.rlm.provider.response_cache import ResponseCache\n"
        "cache = ResponseCache(Path(sys.argv[1]))\n"
        "for n in range(200):\n"
        "    key = ResponseCache.key('m', '', str(n % 20), None)\n"
        "    known, value = cache.get(key)\n"
        "    assert not known or value == ['x' * 5000, n % 20], value\n"
        "    cache.put(key, ['x' * 5000, n % 20])\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(30) for process in running] == [0] * 4
    assert len(list(tmp_path.glob("??/*"))) == 20
    assert list(tmp_path.glob("??/.*")) == []


def test_the_cache_is_bounded_and_a_damaged_entry_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ResponseCache(tmp_path)
    keys = [ResponseCache.key("m", "", str(n), None) for n in range(10)]
    for key in keys:
        cache.put(key, "x" * 1_000)
    (tmp_path / keys[9][:2] / keys[9]).write_bytes(b'{"val')
    assert cache.get(keys[9]) == (False, None)
    monkeypatch.setattr("halo_worker.rlm.provider.response_cache.CACHE_BYTES", 5_000)
    cache.prune()
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 5_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ('The answer is {"a": {"b": 1}} I think', {"a": {"b": 1}}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
    ],
)
def test_json_is_found_in_text(text: str, value: Any) -> None:
    assert extract_json(text) == value


def test_schemas_from_model_code_are_made_safe() -> None:
    """No regular expression of theirs runs here, and no reference leaves the schema."""
    slow = {"type": "object", "properties": {"pattern": {"type": "string", "pattern": "(a+)+$", "format": "regex"}}}
    validator = Validator(slow)
    assert validator.schema == {"type": "object", "properties": {"pattern": {"type": "string"}}}
    assert validator.problems({"pattern": "a" * 60 + "b"}) == []
    for bad in ({"$ref": "http://127.0.0.1/x"}, {"type": "nonsense"}, [], {"enum": ["x" * 100_000]}):
        with pytest.raises(BadSchema):
            Validator(bad)
    nested: dict[str, Any] = {}
    for _ in range(500):
        nested = {"items": nested}
    with pytest.raises(BadSchema):
        Validator(nested)
    endless = Validator({"$ref": "#"})
    assert "cannot be applied" in endless.problems({})[0]


async def test_a_schema_that_is_none_is_an_error_of_the_call(scripted_model: Scripted, session: NewSession) -> None:
    server = scripted_model([])
    result = await session(server).query("?", schema={"type": "nonsense"})
    assert result.error
    assert result.error["type"] == "invalid"
    assert server.requests == []


async def test_ask_is_the_root_model_once(scripted_model: Scripted, session: NewSession) -> None:
    async def never(_: dict[str, Any], __: int) -> Any:
        raise AssertionError

    server = scripted_model([Say("text"), Say('{"n": 1}'), Say(calls=[("look", {"at": 1})]), Fault(401)])
    one = session(server)
    messages = [Message("system", "s"), Message("user", "u")]
    assert (await one.ask(messages)).value == "text"
    assert (await one.ask(messages, schema=SCHEMA)).value == {"n": 1}
    called = await one.ask(messages, tools=[tool("look", never)])
    assert called.value == {"content": "", "tool_calls": [{"name": "look", "arguments": '{"at": 1}'}]}
    refused = await one.ask(messages)
    assert refused.error
    assert refused.error["type"] == "refused"


async def test_what_is_held_back_is_there_for_ask(scripted_model: Scripted, session: NewSession) -> None:
    """After a map that spent the budget, a synthesis can still be asked for."""

    def script(request: Request) -> Say:
        return Say("x" * 4_000)

    one = session(scripted_model(script), limits=BudgetLimits(tokens=40_000, parallel=2))
    results = await one.batch([f"{n} " + "word " * 200 for n in range(60)])
    assert any(result.error for result in results)
    assert (await one.ask([Message("user", "sum up")])).value


async def test_calls_are_few_for_many_waiting(scripted_model: Scripted, session: NewSession) -> None:
    """2,000 prompts wait in order, without 2,000 connections."""
    server = scripted_model(lambda request: Say(json.dumps(len(request.last))))
    async with asyncio.timeout(30):
        results = await session(server, limits=BudgetLimits(parallel=8, tokens=None)).batch(
            [f"{n}" for n in range(300)]
        )
    assert all(result.error is None for result in results)
    assert server.most_in_flight <= 8


def test_the_measurement_of_sub_calls_runs() -> None:
    """benchmarks/subcalls.py, small; its figure is read there, on a quiet machine."""
    assert subcalls.main(["--calls", "12", "--parallel", "6", "--seconds", "0.2"]) < 6
