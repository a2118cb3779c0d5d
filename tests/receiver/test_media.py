"""An answer that is an image, audio or a file is an answer, wherever its convention puts it."""

# ruff: noqa: E501 - a case reads best on one line

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from halo_receiver import conventions
from halo_receiver.span import Scope, Span, SpanEvent
from tests.small_spans import MODEL, agent, found, llm, said, span

DATA = "aGVsbG8="
GENAI = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m"}
IMAGE_URL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}


def genai(*parts: dict[str, Any]) -> dict[str, Any]:
    return {**GENAI, "gen_ai.output.messages": said(None, parts=parts)}


def flat(**contents: str) -> dict[str, Any]:
    """OpenInference's flattened parts; `__` stands for a dot."""
    prefix = "llm.output_messages.0.message.contents.0.message_content."
    return {
        "openinference.span.kind": "LLM", "llm.output_messages.0.message.role": "assistant",
        **{prefix + key.replace("__", "."): value for key, value in contents.items()},
    }  # fmt: skip


def raw(value: Any) -> dict[str, Any]:
    """OpenInference's whole answer of a client library."""
    return {"openinference.span.kind": "LLM", "output.value": json.dumps(value), "output.mime_type": "application/json"}


def chat(**message: Any) -> dict[str, Any]:
    return raw({"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": None, **message}}]})


def gemini(**part: Any) -> dict[str, Any]:
    return raw({"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]})


def bedrock(**block: Any) -> dict[str, Any]:
    return raw({"output": {"message": {"role": "assistant", "content": [block]}}})


ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "OpenTelemetry, blob": ("x", genai({"type": "blob", "modality": "image", "mime_type": "image/png", "content": DATA})),
    "OpenTelemetry, URI": ("x", genai({"type": "uri", "modality": "image", "uri": "https://example.com/a.png"})),
    "OpenTelemetry, file": ("x", genai({"type": "file", "modality": "video", "file_id": "f1"})),
    "OpenTelemetry, content left out": ("x", {**genai(), "gen_ai.output.type": "image"}),
    "OpenTelemetry, messages left out": ("x", {**GENAI, "gen_ai.output.type": "speech"}),
    "OpenInference, image": ("x", flat(type="image", image__image__url="data:image/png;base64,x")),
    "OpenInference, audio": ("x", flat(type="audio", audio__audio__url="data:audio/wav;base64,x")),
    "OpenInference, no type": ("x", flat(image__image__url="https://example.com/a.png")),
    "OpenAI, audio": ("x", chat(audio={"id": "a", "data": DATA})),
    "OpenRouter, images": ("x", chat(images=[IMAGE_URL])),
    "OpenAI, images API": ("x", raw({"created": 1, "data": [{"b64_json": DATA}]})),
    "OpenAI, Responses image": ("x", raw({"output": [{"type": "image_generation_call", "id": "i", "result": DATA}]})),
    "OpenAI, Responses code": ("x", raw({"output": [{"type": "code_interpreter_call", "id": "c", "outputs": [{"url": "x"}]}]})),
    "Anthropic": ("x", raw({"role": "assistant", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]})),
    "Gemini, inline": ("x", gemini(inlineData={"mimeType": "image/png", "data": DATA})),
    "Gemini, Python": ("x", gemini(inline_data={"mime_type": "image/png", "data": DATA})),
    "Gemini, file": ("x", gemini(fileData={"mimeType": "video/mp4", "fileUri": "gs://bucket/a.mp4"})),
    "Bedrock, image": ("x", bedrock(image={"format": "png", "source": {"bytes": DATA}})),
    "Bedrock, document": ("x", bedrock(document={"format": "pdf", "name": "a", "source": {"bytes": DATA}})),
    "Bedrock, video": ("x", bedrock(video={"format": "mp4", "source": {"bytes": DATA}})),
    "LangChain": ("x", raw({"generations": [[{"message": {"type": "ai", "data": {"content": [IMAGE_URL]}}}]]})),
    "LangSmith": ("langsmith", {"langsmith.span.kind": "llm", "gen_ai.completion": json.dumps({"generations": [[{"message": {
        "lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"],
        "kwargs": {"content": [IMAGE_URL], "type": "ai"}}}]]})}),
    "Langfuse": ("langfuse-sdk", {"langfuse.observation.type": "generation",
        "langfuse.observation.output": json.dumps({"role": "assistant", "content": [IMAGE_URL]})}),
    "AI SDK": ("ai", {"ai.operationId": "ai.generateText.doGenerate", "ai.response.text": "", "ai.response.finishReason": "stop",
        "ai.response.files": json.dumps([{"type": "file", "mediaType": "image/png", "data": DATA}])}),
    "Google ADK": ("gcp.vertex.agent", {**GENAI, "gcp.vertex.agent.llm_response": json.dumps(
        {"content": {"role": "model", "parts": [{"inline_data": {"mime_type": "image/png", "data": DATA}}]}})}),
    "Pydantic AI": ("pydantic-ai", genai({"type": "image-url", "url": "https://example.com/a.png"})),
    "Pydantic AI, format 1": ("pydantic-ai", {**GENAI, "events": json.dumps([{"event.name": "gen_ai.choice", "index": 0,
        "message": {"role": "assistant", "content": [{"kind": "binary", "media_type": "image/png"}]}}])}),
    "MLflow": ("mlflow", {"mlflow.spanType": '"LLM"', "mlflow.spanOutputs": json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": [IMAGE_URL]}}]})}),
    "Logfire": ("logfire.openai", {"gen_ai.request.model": "m", "logfire.msg": "x",
        "response_data": json.dumps({"message": {"role": "assistant", "content": None, "audio": {"id": "a", "data": DATA}}})}),
    "Logfire, images": ("logfire.openai", {"gen_ai.request.model": "m", "logfire.msg": "x",
        "response_data": json.dumps({"images": [{"url": "https://example.com/a.png"}]})}),
    "Laminar": ("lmnr.tracer", {"lmnr.span.type": "LLM",
        "lmnr.span.output": json.dumps([{"role": "assistant", "content": [{"type": "image", "image": "data:x"}]}])}),
    "HALO's files": ("x", {"inference.observation_kind": "LLM", "output.value": json.dumps(
        {"role": "assistant", "content": [IMAGE_URL]})}),
}  # fmt: skip
NOTHING: dict[str, dict[str, Any]] = {
    "no part": genai(),
    "an empty text": genai({"type": "text", "content": ""}),
    "a mark": genai({"type": "step-start"}),
    "reasoning alone": genai({"type": "reasoning", "content": "The user asks for a picture."}),
    "text was asked for": {**genai(), "gen_ai.output.type": "text"},
}


def messages_of(scope: str, attributes: dict[str, Any], events: list[SpanEvent] | None = None) -> list[dict[str, Any]]:
    made = Span("a" * 32, "b" * 16, "", "chat", Scope(name=scope), attributes=attributes, events=events or [])
    meaning = conventions.canonical(made)
    assert meaning.span_type == "llm"
    read: list[dict[str, Any]] = json.loads(meaning.output_messages or "[]")
    return read


@pytest.mark.parametrize("case", ANSWERS)
def test_media_of_every_convention_are_part_of_the_answer(case: str) -> None:
    [message] = messages_of(*ANSWERS[case])
    assert message["role"] == "assistant"
    assert message["content"] is None
    assert [sorted(one) for one in message["media"]] in ([["type"]], [["mime_type", "type"]])


def test_media_in_events_are_too() -> None:
    event = SpanEvent(
        1, "gen_ai.choice", {"message": json.dumps([{"image": {"format": "png"}}]), "finish_reason": "end_turn"}
    )
    [message] = messages_of("strands.telemetry.tracer", GENAI, [event])
    assert message["media"]


def test_what_is_said_beside_media_stays() -> None:
    [message] = messages_of("x", chat(audio={"id": "a", "data": DATA, "transcript": "Good morning."}))
    assert (message["content"], message["media"]) == ("Good morning.", [{"type": "audio"}])


@pytest.mark.parametrize("case", NOTHING)
def test_nothing_is_no_media(case: str) -> None:
    [message] = messages_of("x", NOTHING[case])
    assert "media" not in message


def answering(first: int, attributes: dict[str, Any], scope: str) -> list[Span]:
    """Three runs whose call has that answer."""
    return [
        one
        for number in range(first, first + 3)
        for one in (agent(number), span(number, 2, "chat", attributes, parent=1, scope=scope))
    ]


# Enough of a service that its answers are known to be captured.
USUAL = [one for number in range(1, 21) for one in (agent(number), llm(number, 2, "Here you are."))]


def test_no_such_answer_is_called_empty(tmp_path: Path) -> None:
    made = [
        span
        for n, (scope, attributes) in enumerate(ANSWERS.values())
        for span in answering(100 + 3 * n, attributes, scope)
    ]
    assert "empty_answer" not in found([*USUAL, *made], tmp_path)


def test_an_empty_answer_is_one_also_where_a_title_follows(tmp_path: Path) -> None:
    empty = answering(100, genai(), "x")
    assert len(found([*USUAL, *empty], tmp_path / "alone")["empty_answer"].occurrences) == 3
    titles = [llm(n, 3, "Order status question", at=500, model=f"{MODEL}-mini") for n in range(100, 103)]
    assert len(found([*USUAL, *empty, *titles], tmp_path / "titled")["empty_answer"].occurrences) == 3
