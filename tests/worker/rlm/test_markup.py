"""What chat templates write into a text: calls are carried out, thinking is passed over, no markup reaches a reader."""

from __future__ import annotations

import json

import pytest

from halo_worker.rlm.agent import chat_templates
from halo_worker.rlm.messages import Message
from halo_worker.rlm.thinking import without_thinking
from tests.scripted_model import Say, Scripted
from tests.worker.rlm.conftest import ANSWER, NewSession, task

LOOK = '{"limit": 5}'
CALL = '{"name": "list_numbers", "arguments": {"limit": 5}}'
CALLS = {
    "Hermes": f"I look.\n<tool_call>\n{CALL}\n</tool_call>",
    "Hermes, not closed": f"<tool_call>\n{CALL}",
    "Qwen XML": "<tool_call>\n<function=list_numbers>\n<parameter=limit>\n5\n</parameter>\n</function>\n</tool_call>",
    "Qwen XML, bare": "I look.\n<function=list_numbers>\n<parameter=limit>\n5\n</parameter>\n</function>",
    "Llama function": f"<function=list_numbers>{LOOK}</function>",
    "Llama tag": '<|python_tag|>{"name": "list_numbers", "parameters": {"limit": 5}}<|eom_id|>',
    "Llama built-in": "<|python_tag|>list_numbers.call(limit=5)",
    "Llama 4": "<|python_start|>[list_numbers(limit=5)]<|python_end|>",
    "Llama 4, bare": "[list_numbers(limit=5)]",
    "Mistral list": f"[TOOL_CALLS][{CALL}]</s>",
    "Mistral named": f"[TOOL_CALLS]list_numbers[ARGS]{LOOK}",
    "Mistral named, with id": f"I look.[TOOL_CALLS]list_numbers[CALL_ID]abc123[ARGS]{LOOK}",
    "DeepSeek V3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>list_numbers\n"
    f"```json\n{LOOK}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "DeepSeek V3.1": f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>list_numbers<｜tool▁sep｜>{LOOK}<｜tool▁call▁end｜>",
    "DeepSeek V3.2": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="list_numbers">\n<｜DSML｜parameter name="limit" '
    'string="false">5</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
    "Claude": '<function_calls><invoke name="list_numbers"><parameter name="limit">5</parameter></invoke>'
    "</function_calls>",
    "MiniMax": '<minimax:tool_call><invoke name="list_numbers"><parameter name="limit">5</parameter></invoke>',
    "GLM": "<tool_call>list_numbers\n<arg_key>limit</arg_key>\n<arg_value>5</arg_value>\n</tool_call>",
    "Kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.list_numbers:0<|tool_call_argument_begin|>"
    f"{LOOK}<|tool_call_end|><|tool_calls_section_end|>",
    "gpt-oss": f"<|channel|>commentary to=functions.list_numbers <|constrain|>json<|message|>{LOOK}<|call|>",
    "Cohere": '<|START_ACTION|>[{"tool_name": "list_numbers", "parameters": {"limit": 5}}]<|END_ACTION|>',
    "Granite": f"<|tool_call|>[{CALL}]",
    "Nemotron": f"<TOOLCALL>[{CALL}]</TOOLCALL>",
    "Phi": f"functools[{CALL}]",
    "InternLM": f"<|action_start|><|plugin|>{CALL}<|action_end|>",
}


@pytest.mark.parametrize("text", CALLS.values(), ids=CALLS)
async def test_a_call_in_the_markup_of_a_chat_template_is_carried_out(
    scripted_model: Scripted, session: NewSession, text: str
) -> None:
    server = scripted_model([Say(text), Say(calls=[("final_answer", {"answer": "five"})])])
    outcome = await session(server).loop(task())
    assert outcome.arguments == {"answer": "five"}
    assert "numbers" in server.requests[1].texts[-1]
    assert "[0" in server.requests[1].texts[-1].replace(" ", "").replace("\n", "")


async def test_several_calls_in_one_markup_are_all_made(scripted_model: Scripted, session: NewSession) -> None:
    text = f"<|python_tag|>{CALL}; {CALL.replace('5', '6')}"
    server = scripted_model([Say(text), Say(calls=[("final_answer", {"answer": "x"})])])
    await session(server).loop(task())
    assert sum("Result of list_numbers" in one for one in server.requests[1].texts) == 2


async def test_a_final_answer_in_markup_ends_the_run(scripted_model: Scripted, session: NewSession) -> None:
    text = "<tool_call>\n<function=final_answer>\n<parameter=answer>\nIt is\nfive.\n</parameter>\n</function>"
    outcome = await session(scripted_model([Say(text)])).loop(task())
    assert outcome.arguments == {"answer": "It is\nfive."}


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nlist_numbers\n</tool_call>",
        "[TOOL_CALLS]",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>fun",
        "<function=fin",
        '<function_calls><invoke name="fin',
        "<|python_tag|>",
        '```json\n{"name": "final_answer", "arguments": {"answer": "the',
    ],
)
async def test_markup_is_never_the_answer(scripted_model: Scripted, session: NewSession, text: str) -> None:
    outcome = await session(scripted_model(lambda _: Say(text))).loop(task())
    assert outcome.arguments is None
    assert not outcome.salvaged
    outcome = await session(scripted_model(lambda _: Say(f"Five, I think.\n{text}"))).loop(task())
    assert outcome.salvaged in ("Five, I think.", None)


def test_what_a_text_quotes_is_no_markup() -> None:
    said = 'The agent shows `<tool_call>` and "[TOOL_CALLS]" to its users.'
    assert chat_templates.readable(said) == said
    assert list(chat_templates.calls(said)) == []


async def test_a_question_outside_of_the_loop_takes_its_answer_out_of_markup(
    scripted_model: Scripted, session: NewSession
) -> None:
    text = "<tool_call>\n<function=final_answer>\n<parameter=answer>\nfive\n</parameter>\n</function>\n</tool_call>"
    result = await session(scripted_model([Say(text)])).ask([Message("user", "?")], schema=ANSWER)
    assert result.value == {"answer": "five"}


DRAFT = 'Perhaps {"answer": "nothing fails"}? No.'
FINAL = json.dumps({"answer": "five"})


@pytest.mark.parametrize(
    "text",
    [
        f"{DRAFT}\n</think>\n\n{FINAL}",
        f"<think>{DRAFT}</think>{FINAL}",
        f"<think>\n{DRAFT}\n</think>\n```json\n{FINAL}\n```",
        f"{DRAFT}</thinking>{FINAL}",
        f"{DRAFT}[/THINK]{FINAL}",
        f"◁think▷{DRAFT}◁/think▷{FINAL}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{FINAL}<|return|>",
    ],
)
async def test_what_stands_after_the_thinking_is_the_answer(
    scripted_model: Scripted, session: NewSession, text: str
) -> None:
    result = await session(scripted_model([Say(text)])).ask([Message("user", "?")], schema=ANSWER)
    assert result.value == {"answer": "five"}
    outcome = await session(scripted_model([Say(text)])).loop(task())
    assert outcome.arguments == {"answer": "five"}


def test_thinking_that_is_quoted_stays() -> None:
    for said in (
        "The agent shows `</think>` to its users.",
        json.dumps({"answer": "It leaks <think>plans</think> and a lone </think> too."}),
        'In its answer: "<think>" and no end.',
    ):
        assert without_thinking(said) == said
    assert without_thinking("<think>no end") == ""
