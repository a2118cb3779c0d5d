"""Transcripts of Claude Code: `<project>/<session>.jsonl`, and of its subagents `agent-<id>.jsonl`.

A line is an entry: what the user or a tool said (`user`), what the model said (`assistant`, one line for each block of
an answer, all with its message id), what the program noted (`system`). A trace is a prompt and all that was done for
it, as in Claude Code's own telemetry; ids derive from those of the entries, so that a session that was resumed, forked
or imported again is the same spans. Nobody specifies the format: it was read from descriptions of versions 1.0 to 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from halo_receiver.span import SpanEvent
from halo_worker.source.conversation import Agent, Link, Message, ModelCall, ToolCall, Turn, span_id_of, trace_id_of
from halo_worker.source.transcript_values import dict_of, integer, message_without_media, text_of, time_of

AGENT = Agent("claude-code", "anthropic", "halo.source.claude_code")
KNOWN_MAJOR_VERSIONS = range(3)
_AGENT_FILE = re.compile(r"agent-(.+)\.jsonl", re.ASCII)
_ENTRIES = frozenset({"user", "assistant", "system"})
_INTERRUPTED = "[Request interrupted by user"
# How the result of a tool begins whose call a person stopped: no fault of the tool.
_STOPPED = (
    ("The user doesn't want to", "UserRejected"), ("The user does not want to", "UserRejected"),
    (_INTERRUPTED, "UserInterrupted"), ("Interrupted by user", "UserInterrupted"),
)  # fmt: skip


def agent_id_of(name: str) -> str | None:
    """Return the id of the subagent whose transcript has this file name; None for one of a session."""
    found = _AGENT_FILE.match(name)
    return found[1] if found else None


def recognises(entry: dict[str, Any]) -> bool:
    """Say whether a line is an entry of such a transcript."""
    return entry.get("type") in _ENTRIES and "sessionId" in entry and "timestamp" in entry


def unknown_version(entry: dict[str, Any]) -> str | None:
    """Return the version that wrote the entry, where this module was not written for it."""
    version = str(entry.get("version") or "")
    major = version.partition(".")[0]
    return version if major.isdecimal() and int(major) not in KNOWN_MAJOR_VERSIONS else None


class Transcript:
    """Reads the entries of one file. `links` are the subagents that were started so far, by id; it adds to them."""

    def __init__(self, links: dict[str, Link], link: Link | None = None) -> None:
        self._links = links
        self._main = _Thread(links, link)
        self._sidechains: dict[str, _Thread] = {}  # by entry: before 2.0.60 subagents wrote into the session's file

    def feed(self, entry: dict[str, Any]) -> Iterator[Turn]:
        """Take one entry; yield the turns that it ends."""
        if not recognises(entry):
            return
        if entry.get("isSidechain") and not self._main.link:
            yield from self._side_thread(entry).feed(entry)
            return
        ended = list(self._main.feed(entry))
        if ended:
            yield from self._ended_sidechains()
        yield from ended

    def end(self) -> Iterator[Turn]:
        """Yield what is still open."""
        yield from self._ended_sidechains()
        yield from self._main.end()

    def _side_thread(self, entry: dict[str, Any]) -> _Thread:
        thread = self._sidechains.get(str(entry.get("parentUuid")))
        if thread is None:
            prompt = text_of(dict_of(entry.get("message")).get("content"))
            thread = _Thread(self._links, self._main.link_of_prompt(prompt))
        self._sidechains[str(entry.get("uuid"))] = thread
        return thread

    def _ended_sidechains(self) -> Iterator[Turn]:
        for thread in {id(thread): thread for thread in self._sidechains.values()}.values():
            yield from thread.end()
        self._sidechains = {}


class _Thread:
    """One conversation: the session's, or that of a subagent."""

    def __init__(self, links: dict[str, Link], link: Link | None) -> None:
        self.link = link
        self._links = links
        self._turn: Turn | None = None
        self._pending: list[Message] = []  # what the next request to the model will say
        self._last_ns = 0
        self._take: dict[str, Callable[[dict[str, Any], int], Iterator[Turn]]] = {
            "user": self._user, "assistant": self._assistant, "system": self._system,
        }  # fmt: skip

    def feed(self, entry: dict[str, Any]) -> Iterator[Turn]:
        now_ns = time_of(entry.get("timestamp")) or self._last_ns
        yield from self._take[entry["type"]](entry, now_ns)
        self._last_ns = max(self._last_ns, now_ns)

    def end(self) -> Iterator[Turn]:
        """Yield the turn, where the model was asked in it."""
        turn, self._turn = self._turn, None
        if turn is not None and turn.ended():
            yield turn

    def link_of_prompt(self, prompt: str) -> Link | None:
        """Find the call that started a subagent by the prompt it gave."""
        for tool in self._turn.tools.values() if self._turn else ():
            if isinstance(tool.arguments, dict) and tool.arguments.get("prompt") == prompt:
                return self._link_to(tool)
        return None

    def _user(self, entry: dict[str, Any], now_ns: int) -> Iterator[Turn]:
        content = dict_of(entry.get("message")).get("content")
        blocks = [dict_of(block) for block in content] if isinstance(content, list) else []
        results = [block for block in blocks if block.get("type") == "tool_result"]
        for block in results:
            self._result(block, entry, now_ns)
        said = text_of(content)
        message = message_without_media("user", content)
        if said.startswith(_INTERRUPTED) and not results:
            if self._turn:
                self._turn.events.append(SpanEvent(now_ns, "interrupted by the user"))
                self._turn.end_ns = now_ns
            return
        self._pending.append(message)
        if results or entry.get("isMeta") or entry.get("isCompactSummary"):
            return
        if self._turn and self._turn.calls:
            self._pending.pop()
            yield from self.end()
            self._pending = [message]
        turn = self._turn or self._begin(entry, now_ns)
        turn.prompt.append(message)

    def _begin(self, entry: dict[str, Any], now_ns: int) -> Turn:
        session, key = str(entry.get("sessionId") or ""), str(entry.get("uuid"))
        agent = Agent(AGENT.name, AGENT.provider, AGENT.scope, str(entry.get("version") or ""))
        link = self.link
        self._turn = Turn(
            agent,
            link.trace_id if link else trace_id_of(AGENT.name, key),
            span_id_of(AGENT.name, "turn", key),
            now_ns,
            link.session_id if link else session,
            parent_span_id=link.span_id if link else "",
            agent_name=link.agent if link else "",
            attributes={
                "process.working_directory": entry.get("cwd") or None,
                "vcs.ref.head.name": entry.get("gitBranch") or None,
            },
        )
        return self._turn

    def _assistant(self, entry: dict[str, Any], now_ns: int) -> Iterator[Turn]:
        message = dict_of(entry.get("message"))
        turn = self._turn or self._begin(entry, self._last_ns or now_ns)
        key = str(message.get("id") or entry.get("uuid"))
        if entry.get("isApiErrorMessage"):
            said = text_of(message.get("content"))
            self._failed(turn, str(entry.get("uuid")), str(entry.get("error") or "api_error"), said, now_ns)
        elif message.get("model") != "<synthetic>":  # what the program says in the model's name is no answer
            call = turn.calls.get(key) or self._call(turn, key, now_ns)
            _take_answer(call, message, now_ns)
            for block in call.output[-1]["content"] if call.output else ():
                if block.get("type") == "tool_use" and str(block.get("id")) not in turn.tools:
                    turn.tools[str(block.get("id"))] = ToolCall(
                        str(block.get("id")), str(block.get("name")), block.get("input"), now_ns
                    )
        yield from ()

    def _system(self, entry: dict[str, Any], now_ns: int) -> Iterator[Turn]:
        subtype, turn = entry.get("subtype"), self._turn
        if turn is not None and subtype == "api_error":
            error = dict_of(entry.get("error"))
            kind = str(error.get("status") or error.get("type") or "api_error")
            message = text_of(error.get("message")) or text_of(dict_of(error.get("error")).get("message")) or kind
            self._failed(turn, str(entry.get("uuid")), kind, message, now_ns, keep_inputs=True)
        elif turn is not None and subtype == "compact_boundary":
            turn.events.append(SpanEvent(now_ns, "context compacted"))
        yield from ()

    def _call(self, turn: Turn, key: str, now_ns: int) -> ModelCall:
        call = turn.calls[key] = ModelCall(key, min(self._last_ns or now_ns, now_ns), self._pending)
        self._pending = []
        return call

    def _failed(self, turn: Turn, key: str, kind: str, message: str, now_ns: int, *, keep_inputs: bool = False) -> None:
        asked = list(self._pending)
        call = self._call(turn, key, now_ns)
        call.end_ns, call.error = now_ns, (kind, message)
        if keep_inputs:  # the same request is tried again
            self._pending = asked

    def _result(self, block: dict[str, Any], entry: dict[str, Any], now_ns: int) -> None:
        tool = self._turn.tools.get(str(block.get("tool_use_id"))) if self._turn else None
        if tool is None:
            return
        tool.end_ns, tool.result = now_ns, text_of(block.get("content"))
        if block.get("is_error"):
            result = tool.result
            tool.error_type = next((kind for begin, kind in _STOPPED if result.startswith(begin)), "tool_error")
        if agent_id := dict_of(entry.get("toolUseResult")).get("agentId"):
            self._links[str(agent_id)] = self._link_to(tool)

    def _link_to(self, tool: ToolCall) -> Link:
        assert self._turn is not None
        kind = dict_of(tool.arguments).get("subagent_type")
        return Link(
            self._turn.trace_id, self._turn.tool_span_id(tool.call_id), str(kind or "subagent"), self._turn.session_id
        )


def _take_answer(call: ModelCall, message: dict[str, Any], now_ns: int) -> None:
    """Add one line of an answer. Lines repeat the usage, earlier ones with less of the output."""
    call.model = str(message.get("model") or "") or call.model
    call.finish_reason = message.get("stop_reason") or call.finish_reason
    call.end_ns = max(call.end_ns, now_ns)
    usage = dict_of(message.get("usage"))
    if usage:
        read, written = integer(usage.get("cache_read_input_tokens")), integer(usage.get("cache_creation_input_tokens"))
        call.cached_tokens = max(call.cached_tokens or 0, read or 0)
        call.cache_write_tokens = max(call.cache_write_tokens or 0, written or 0)
        whole = (integer(usage.get("input_tokens")) or 0) + (read or 0) + (written or 0)
        call.input_tokens = max(call.input_tokens or 0, whole)
        call.output_tokens = max(call.output_tokens or 0, integer(usage.get("output_tokens")) or 0)
    said = message_without_media("assistant", message.get("content"))
    if not call.output:
        call.output.append({"role": "assistant", "content": []})
    known = call.output[0]["content"]
    known.extend(block for block in said["content"] if block not in known)
