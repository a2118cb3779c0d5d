"""Transcripts of the Codex CLI: `sessions/YYYY/MM/DD/rollout-<time>-<thread>.jsonl`.

A line is `{timestamp, type, payload}`: `session_meta` first, a `turn_context` for each turn, what went to and came from
the model as items of the Responses API (`response_item`), and events of the program (`event_msg`). A trace is a turn.
Read from descriptions of the CLI's versions 0.40 to 0.150; before 0.31 lines had no payload and no times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from halo_receiver.conventions.values import structured
from halo_receiver.span import SpanEvent
from halo_worker.source.conversation import Agent, Link, Message, ModelCall, ToolCall, Turn, span_id_of, trace_id_of
from halo_worker.source.transcript_values import dict_of, integer, message_without_media, text_of, time_of

AGENT = Agent("codex", "openai", "halo.source.codex")
KNOWN_MAJOR_VERSIONS = range(2)
_LINES = frozenset({"session_meta", "response_item", "event_msg", "turn_context", "compacted"})
_CALLS = ("function_call", "custom_tool_call", "local_shell_call", "web_search_call", "tool_search_call")
_RESULTS = ("function_call_output", "custom_tool_call_output", "tool_search_output")
_EXIT = re.compile(r"^(?:Exit code: |Process exited with code )(\d+)\s*$", re.MULTILINE | re.ASCII)
_HEAD_CHARACTERS = 400  # of a result, in which its exit code stands
_ABORTED = ("aborted by user", "user rejected", "rejected by user")


def recognises(entry: dict[str, Any]) -> bool:
    """Say whether a line is one of such a transcript."""
    return entry.get("type") in _LINES and isinstance(entry.get("payload"), dict)


def unknown_version(entry: dict[str, Any]) -> str | None:
    """Return the version that wrote the file, where this module was not written for it."""
    if "payload" not in entry and isinstance(entry.get("id"), str) and "instructions" in entry:
        return "before 0.31"
    version = str(dict_of(entry.get("payload")).get("cli_version") or "")
    major = version.partition(".")[0]
    return version if major.isdecimal() and int(major) not in KNOWN_MAJOR_VERSIONS else None


def parent_of(entry: dict[str, Any]) -> str | None:
    """Return the thread that started the one whose first line this is; None for one that a person started."""
    payload = dict_of(entry.get("payload"))
    spawned = payload.get("parent_thread_id") or _spawn(payload).get("parent_thread_id")
    return str(spawned) if spawned else None


def _spawn(payload: dict[str, Any]) -> dict[str, Any]:
    return dict_of(dict_of(dict_of(payload.get("source")).get("subagent")).get("thread_spawn"))


class Transcript:
    """Reads the lines of one file. `links` are the threads that were started so far, by id; it adds to them.

    `links` also holds the last turn of each thread: what its child hangs below where the call that started the child
    is not to be told.
    """

    def __init__(self, links: dict[str, Link], link: Link | None = None) -> None:
        self._links = links
        self._link = link
        self._agent = AGENT
        self._thread = ""
        self._role = ""
        self._attributes: dict[str, Any] = {}
        self._turn: Turn | None = None
        self._turn_id: str | None = None
        self._model: str | None = None
        self._call: ModelCall | None = None
        self._pending: list[Message] = []
        self._last_ns = 0
        self._turns = 0
        self._take: dict[str, Callable[[dict[str, Any], int], Iterator[Turn]]] = {
            "session_meta": self._session, "turn_context": self._context, "response_item": self._item,
            "event_msg": self._event, "compacted": self._compacted,
        }  # fmt: skip

    def feed(self, entry: dict[str, Any]) -> Iterator[Turn]:
        """Take one line; yield the turn that it ends."""
        if recognises(entry):
            now_ns = time_of(entry.get("timestamp")) or self._last_ns
            yield from self._take[entry["type"]](entry["payload"], now_ns)
            self._last_ns = max(self._last_ns, now_ns)

    def end(self) -> Iterator[Turn]:
        """Yield the turn that is open, where the model was asked in it."""
        turn, self._turn, self._call, self._turn_id = self._turn, None, None, None
        if turn is not None and turn.ended():
            yield turn

    def _session(self, payload: dict[str, Any], now_ns: int) -> Iterator[Turn]:
        if not self._thread:  # a fork goes on with the lines of the thread it was made from
            self._thread = str(payload.get("id") or "")
            self._agent = Agent(AGENT.name, AGENT.provider, AGENT.scope, str(payload.get("cli_version") or ""))
            spawn = _spawn(payload)
            self._role = str(spawn.get("agent_role") or spawn.get("agent_nickname") or "subagent") if spawn else ""
            self._attributes = {
                "process.working_directory": payload.get("cwd") or None,
                "vcs.ref.head.name": dict_of(payload.get("git")).get("branch") or None,
            }
        yield from ()

    def _context(self, payload: dict[str, Any], now_ns: int) -> Iterator[Turn]:
        self._model = str(payload.get("model") or "") or self._model
        yield from self._new_turn(payload.get("turn_id"))

    def _new_turn(self, turn_id: Any) -> Iterator[Turn]:
        """End the turn that is open where another one begins; lines name their turn since 0.60."""
        if turn_id and str(turn_id) != self._turn_id:
            if self._turn_id or self._turn:
                yield from self.end()
            self._turn_id = str(turn_id)

    def _begin(self, now_ns: int) -> Turn:
        self._turns += 1
        key = self._turn_id or f"{self._thread}/{self._turns}"
        link = self._link
        self._turn = Turn(
            self._agent,
            link.trace_id if link else trace_id_of(AGENT.name, key),
            span_id_of(AGENT.name, "turn", key),
            now_ns,
            link.session_id if link else self._thread,
            parent_span_id=link.span_id if link else "",
            agent_name=self._role,
            attributes=dict(self._attributes),
        )
        self._links[f"last turn of {self._thread}"] = Link(
            self._turn.trace_id, self._turn.span_id, "", self._turn.session_id
        )
        return self._turn

    def _item(self, payload: dict[str, Any], now_ns: int) -> Iterator[Turn]:
        kind, role = str(payload.get("type")), payload.get("role")
        if kind == "message" and role != "assistant":
            if role == "user" and not text_of(payload.get("content")).startswith("<"):  # else the program's own words
                yield from self._prompt(message_without_media("user", payload.get("content")), now_ns)
            else:
                self._pending.append(message_without_media(str(role or "user"), payload.get("content")))
        elif kind in _RESULTS:
            self._result(payload, now_ns)
        elif kind in _CALLS or kind in ("message", "reasoning"):
            self._answer(kind, payload, now_ns)

    def _prompt(self, message: Message, now_ns: int) -> Iterator[Turn]:
        if self._turn and self._turn.calls and not self._turn_id:
            yield from self.end()
        turn = self._turn or self._begin(now_ns)
        turn.prompt.append(message)
        self._pending.append(message)

    def _answer(self, kind: str, payload: dict[str, Any], now_ns: int) -> None:
        turn = self._turn or self._begin(self._last_ns or now_ns)
        call = self._call
        if call is None:
            key = str(len(turn.calls))
            call = self._call = turn.calls[key] = ModelCall(key, self._last_ns or now_ns, self._pending)
            self._pending, call.model = [], self._model
        call.end_ns = max(call.end_ns, now_ns)
        if kind == "message":
            call.output.append(message_without_media("assistant", payload.get("content")))
        elif kind == "reasoning":
            if thought := text_of(payload.get("summary")):
                call.output.append({"role": "assistant", "content": [{"type": "thinking", "thinking": thought}]})
        else:
            self._tool(turn, call, kind, payload, now_ns)

    def _tool(self, turn: Turn, call: ModelCall, kind: str, payload: dict[str, Any], now_ns: int) -> None:
        call_id = str(payload.get("call_id") or payload.get("id") or f"{len(turn.tools)}")
        name = str(payload.get("name") or kind.removesuffix("_call"))
        arguments = next((payload[key] for key in ("arguments", "input", "action") if key in payload), None)
        call.output.append({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments})
        tool = turn.tools[call_id] = ToolCall(call_id, name, arguments, now_ns)
        if kind == "web_search_call":  # answered where the model runs
            tool.end_ns = now_ns

    def _result(self, payload: dict[str, Any], now_ns: int) -> None:
        call_id, output = str(payload.get("call_id")), payload.get("output")
        said, failed = _output(output)
        self._call = None  # what the model says next answers this
        self._pending.append({"type": "function_call_output", "call_id": call_id, "output": said})
        tool = self._turn.tools.get(call_id) if self._turn else None
        if tool is None or self._turn is None:
            return
        tool.end_ns, tool.result, tool.error_type = now_ns, said, failed
        started = dict_of(structured(said)) if tool.name == "spawn_agent" else {}
        if agent_id := started.get("agent_id"):
            self._links[str(agent_id)] = Link(
                self._turn.trace_id, self._turn.tool_span_id(call_id), "", self._turn.session_id
            )

    def _event(self, payload: dict[str, Any], now_ns: int) -> Iterator[Turn]:
        kind, turn = payload.get("type"), self._turn
        if kind in ("task_started", "turn_started"):
            yield from self._new_turn(payload.get("turn_id"))
        elif kind == "token_count" and turn is not None:
            _take_usage(turn.last_call(), dict_of(payload.get("info")))
        elif kind == "turn_aborted" and turn is not None:
            turn.events.append(SpanEvent(now_ns, "interrupted by the user"))
            turn.end_ns = now_ns
            yield from self.end()
        elif kind in ("error", "stream_error") and (turn is not None or self._pending):
            self._failed(payload, now_ns)
        elif kind in ("task_complete", "turn_complete"):
            yield from self.end()

    def _failed(self, payload: dict[str, Any], now_ns: int) -> None:
        turn = self._turn or self._begin(self._last_ns or now_ns)
        info = payload.get("codex_error_info")
        kind = info if isinstance(info, str) else next(iter(dict_of(info)), None) or "api_error"
        key = str(len(turn.calls))
        turn.calls[key] = ModelCall(
            key, self._last_ns or now_ns, list(self._pending), end_ns=now_ns, model=self._model,
            error=(kind, text_of(payload.get("message")) or kind),
        )  # fmt: skip
        self._call = None

    def _compacted(self, payload: dict[str, Any], now_ns: int) -> Iterator[Turn]:
        if self._turn is not None:
            self._turn.events.append(SpanEvent(now_ns, "context compacted"))
        yield from ()


def _output(output: Any) -> tuple[str, str | None]:
    """Return what a tool gave, and the type of its error where it says that it failed."""
    holder = output if isinstance(output, dict) else dict_of(structured(output)) if isinstance(output, str) else {}
    inner = next((holder[key] for key in ("output", "content") if key in holder), output)
    said = text_of(inner) or (output if isinstance(output, str) else "")
    code = integer(dict_of(holder.get("metadata")).get("exit_code"))
    if code is None and (found := _EXIT.search(said[:_HEAD_CHARACTERS])):
        code = int(found[1])
    if any(words in said[:_HEAD_CHARACTERS].lower() for words in _ABORTED):
        return said, "UserRejected"
    if code:
        return said, f"exit_code_{code}"
    return said, "tool_error" if holder.get("success") is False else None


def _take_usage(call: ModelCall | None, info: dict[str, Any]) -> None:
    """Give the last request its tokens. The event comes again when limits change: the first one counts."""
    usage = dict_of(info.get("last_token_usage"))
    if call is None or not usage or call.input_tokens is not None:
        return
    call.input_tokens = integer(usage.get("input_tokens"))
    call.cached_tokens = integer(usage.get("cached_input_tokens"))
    call.output_tokens = integer(usage.get("output_tokens"))
    call.reasoning_tokens = integer(usage.get("reasoning_output_tokens"))
