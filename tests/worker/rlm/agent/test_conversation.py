"""A conversation keeps itself small, by rule, and loses nothing that cannot be shown again."""

from __future__ import annotations

import json
from collections.abc import Sequence

from halo_worker.rlm.agent import prompts
from halo_worker.rlm.agent.conversation import DIGEST_BYTES, SPARED_TURNS, STALE_BYTES, Conversation
from halo_worker.rlm.messages import Message
from halo_worker.rlm.truncation import truncate_json


def estimate(messages: Sequence[Message]) -> int:
    return sum(len(message.content or "") for message in messages) // 4


def result(number: int, size: int) -> Message:
    spans = [{"span_id": f"{number:08d}{index:08d}", "text": "word " * 40} for index in range(size // 250)]
    text = prompts.as_data("view_trace", json.dumps({"trace_id": f"t{number}", "spans": spans}), 100_000)
    return Message("tool", text, tool_call_id=f"c{number}", name="view_trace")


def with_results(*sizes: int, tokens: int = 60_000) -> Conversation:
    conversation = Conversation(tokens=tokens)
    conversation.add(Message("user", "the question " * 500))
    for number, size in enumerate(sizes):
        conversation.add(Message("assistant", "I look.", ()))
        conversation.add(result(number, size))
    return conversation


def test_old_results_give_way_to_digests_that_keep_ids_and_name_the_whole() -> None:
    conversation = with_results(13_000, 13_000, 6_000, 6_000, 6_000)
    before = [message.content for message in conversation.messages]
    assert conversation.fit(estimate) == 2
    first = conversation.messages[2].content or ""
    assert len(first) < DIGEST_BYTES + 400
    assert "t0" in first
    assert "0000000000000000" in first
    assert prompts.DATA_NOTE in first
    assert conversation.item("item-1", 100_000) == before[2]
    assert [m.content for m in conversation.messages[5:]] == before[5:], "the newest stay as they are"
    assert conversation.messages[0].content == before[0]


def test_nothing_changes_until_it_is_worth_it() -> None:
    """Every change of the beginning costs what providers had cached of it."""
    small = with_results(*[1_000] * 12)
    assert small.fit(estimate) == 0
    few = with_results(STALE_BYTES - 1_000, *[6_000] * SPARED_TURNS, tokens=120_000)
    assert few.fit(estimate) == 0
    conversation = with_results(13_000, 13_000, 6_000, 6_000, 6_000)
    assert conversation.fit(estimate) == 2
    after = list(conversation.messages)
    conversation.add(Message("assistant", "I look.", ()))
    conversation.add(result(9, 3_000))
    assert conversation.fit(estimate) == 0
    assert conversation.messages[: len(after)] == after


def test_what_the_newest_turn_returned_is_never_shortened_before_it_was_seen() -> None:
    """Many results of one turn are read together; what was fetched again stays for a turn, too."""
    conversation = with_results(20_000, 20_000)
    conversation.add(Message("assistant", "Eight at once.", ()))
    for number in range(8):
        conversation.add(result(10 + number, 12_000))
    newest = conversation.messages[-8:]
    conversation.tokens = 20_000
    assert conversation.fit(estimate) == 2
    assert conversation.messages[-8:] == newest
    conversation.add(Message("assistant", "Again.", ()))
    again = Message("tool", conversation.item("item-1", 100_000), tool_call_id="again", name="get_context_item")
    conversation.add(again)
    conversation.fit(estimate)
    assert conversation.messages[-1] == again


def test_a_digest_that_is_elided_too_names_the_same_item() -> None:
    conversation = with_results(13_000, 13_000, 6_000, 6_000, 6_000)
    conversation.fit(estimate)
    whole = conversation.items["item-1"]
    conversation.tokens = 100
    conversation.fit(estimate)
    assert 'get_context_item("item-1")' in (conversation.messages[2].content or "")
    assert "In short" not in (conversation.messages[2].content or "")
    assert conversation.items["item-1"] == whole


def test_json_is_cut_inside_its_values_and_other_text_is_clipped() -> None:
    cut = json.loads(truncate_json(json.dumps({"id": "x" * 32, "text": "y" * 500, "rows": list(range(100))}), 400))
    assert cut["id"] == "x" * 32
    assert cut["text"].endswith("…")
    assert cut["rows"][-1].endswith("more")
    assert len(truncate_json("not JSON " * 1000, 300).encode()) <= 300
    assert len(truncate_json(json.dumps({f"key{n}": n for n in range(1000)}), 300).encode()) <= 300
