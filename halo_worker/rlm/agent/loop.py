"""The loop of one agent, root or sub-agent: ask its model, dispatch the calls of the reply, until it ends."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm.agent import chat_templates, prompts, text_tool_calls
from halo_worker.rlm.agent.builtin_tools import FINAL_ANSWER, GET_CONTEXT_ITEM
from halo_worker.rlm.agent.conversation import Conversation
from halo_worker.rlm.agent.final_answer import FinalAnswer
from halo_worker.rlm.agent.identity import Identity
from halo_worker.rlm.agent.model_turn import FINAL_OUTPUT_TOKENS, ModelTurn
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.agent.subagents import SubAgents
from halo_worker.rlm.agent.task import AgentResult
from halo_worker.rlm.agent.tool_dispatch import ToolDispatch
from halo_worker.rlm.budget import Denied, Stop
from halo_worker.rlm.messages import Message, Reply, ToolCall, Usage
from halo_worker.rlm.provider.message_forms import result_as_text
from halo_worker.rlm.thinking import without_thinking

NUDGES = 1  # replies without a tool call that are answered with a reminder, before the run ends

_DECLINES = re.compile(
    r"\s*(I'm sorry,? but I can(no|')t|I can(no|')t (assist|help)|I'm unable to (assist|help))", re.I
)


@dataclass(slots=True, eq=False)
class Agent:
    """An agent of a run: the root, which ends by a final answer, or a sub-agent, which ends by answering in text."""

    context: RunContext
    identity: Identity
    system: InitVar[str]
    conversation: Conversation = field(default_factory=Conversation)
    after_turn: Callable[[], None] | None = None
    turn: int = 0
    replies_without_call: int = 0  # in a row
    refusals: int = 0
    native: bool = False  # whether it has made a native tool call
    last_text: str | None = None
    final: FinalAnswer = field(init=False)
    tools: ToolDispatch = field(init=False)
    model_turn: ModelTurn = field(init=False)

    def __post_init__(self, system: str) -> None:
        self.conversation.tokens = self.context.context_tokens
        self.final = FinalAnswer(self.context, self.id)
        subagents = SubAgents(self.context, self.identity, self._subagent)
        final = self.final if self.root else None
        self.tools = ToolDispatch(self.context, self.id, self.conversation, subagents, final)
        self.model_turn = ModelTurn(self.context, self.identity, system, self.conversation, self.tools.specs)

    def _subagent(self, identity: Identity) -> Agent:
        return Agent(self.context, identity, self.context.task.child_system)

    @property
    def id(self) -> str:
        """Its id in the run."""
        return self.identity.id

    @property
    def root(self) -> bool:
        """Whether it is the one that answers the task."""
        return self.identity.root

    @property
    def turns(self) -> int:
        """How many turns it has."""
        return self.context.limits.turns

    @property
    def calls_made(self) -> int:
        """How many tool calls it has made."""
        return self.tools.calls_made

    async def close(self) -> None:
        """End its interpreter."""
        await self.tools.code.close()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it; the interpreter's variables are apart."""
        return self.conversation.state() | {
            "system": self.model_turn.system,
            "turn": self.turn,
            "calls_made": self.tools.calls_made,
            "made": dict(self.tools.results),
            "repaired": self.final.returned,
            "offered": self.final.offered,
            "idle": self.replies_without_call,
            "declined": self.refusals,
            "native": self.native,
            "said": self.last_text,
        }

    def restore(self, state: dict[str, Any], variables: bytes | None) -> None:
        """Take over what `state` returned, read back from JSON, and the interpreter's variables."""
        self.conversation.restore(state)
        self.model_turn.system = state["system"]
        self.turn = state["turn"]
        self.tools.calls_made = state["calls_made"]
        self.tools.results = Counter(state["made"])
        self.tools.code.snapshot = variables
        self.final.returned, self.final.offered = state["repaired"], state.get("offered")
        self.replies_without_call, self.refusals = state["idle"], state["declined"]
        self.native, self.last_text = state["native"], state["said"]

    async def run(self) -> AgentResult:
        """Work until the end, whatever the model or the provider does."""
        stop: Stop
        try:
            ended = await self._turns()
            if ended is not None:
                return ended
            stop, reason = "turns", f"all {self.turns} turns are used"
        except Denied as denied:
            stop, reason = self.context.ledger.cause(denied.stop, denied.reason)
        except (ModelRefused, ModelUnavailable) as error:
            stop, reason = "error", _describe(error)
        if self.root:
            self.context.ledger.stop(stop, reason)
        if stop == "turns" or (self.root and stop in ("tokens", "cost", "seconds")):
            try:
                return await self._last_turn(stop, reason)
            except Denied as denied:
                reason += f"; no last answer: {denied.reason}"
                # What it had written of that answer when it was cancelled.
                streamed = without_thinking("".join(self.model_turn.streamed))
                self.last_text = chat_templates.readable(streamed) or self.last_text
            except (ModelRefused, ModelUnavailable) as error:
                reason += f"; no last answer: {_describe(error)}"
        return AgentResult(self.final.offered, self.last_text, stopped_by=stop, reason=reason)

    async def _turns(self) -> AgentResult | None:
        """Take turns until the agent ends; None when only the last turn is left."""
        while self.turn < self.turns - 1:
            self._begin_turn()
            reply = await self.model_turn.ask(self._status(), self.tools.specs)
            ended = await self._act(reply)
            if self.after_turn is not None:
                self.after_turn()
            if ended is not None:
                return ended
        return None

    async def _last_turn(self, stop: Stop, reason: str) -> AgentResult:
        """Take the last turn, in which nothing can be called but final_answer."""
        if self.turn < self.turns:
            self._begin_turn()
        line = self._status() if stop == "turns" else prompts.budget_ended(reason, root=self.root)
        # Some endpoints want tools to be offered as long as the history has calls: a sub-agent gets the most harmless.
        only = FINAL_ANSWER if self.root else GET_CONTEXT_ITEM
        specs = [spec for spec in self.tools.specs if spec.name == only]
        reply = await self.model_turn.ask(line, specs, final=self.root)
        reply = self._record_reply(reply)
        if self.root:
            for call in self._calls_in(reply):
                if call.name == FINAL_ANSWER:
                    await self.final.from_call(call.arguments, last=True)
                    if self.final.result is not None:
                        return replace(self.final.result, stopped_by=stop, reason=reason)
                    self.last_text = call.arguments  # truncated or malformed, and still the last text
        return AgentResult(self.final.offered, self.last_text, stopped_by=stop, reason=reason)

    def _begin_turn(self) -> None:
        self.turn += 1
        if self.root:
            ledger = self.context.ledger
            ledger.turns = self.turn
            tokens = self.model_turn.estimate(self.conversation.messages)
            ledger.hold_back(tokens + FINAL_OUTPUT_TOKENS, self.context.model.cost(Usage(tokens, FINAL_OUTPUT_TOKENS)))

    def _status(self) -> str:
        return prompts.status(
            turn=self.turn,
            turns=self.turns,
            left=self.context.ledger.left(),
            more=self.context.status() if self.root else "",
            root=self.root,
            depth=self.identity.depth,
        )

    async def _act(self, reply: Reply) -> AgentResult | None:
        """Do what a reply asks for; return how the agent ended, if it did."""
        if reply.finish_reason == "content_filter" and self.model_turn.withhold():
            return None
        if reply.refusal or self._declines(reply):
            return self._refused(reply)
        reply = self._record_reply(reply)
        calls = self._calls_in(reply)
        if not calls:
            return self._without_call(reply)
        self.replies_without_call = 0
        final = next((call for call in calls if call.name == FINAL_ANSWER and self.root), None)
        if final is not None:
            text = await self.final.from_call(final.arguments)
            if self.final.result is not None:
                return self.final.result
            rest = {final.id: text} | {c.id: prompts.NOT_RUN for c in calls if c.id != final.id}
            for call in calls:
                self._add_result(call, rest[call.id], from_text=not reply.tool_calls)
            return None
        await self._make_calls(calls, from_text=not reply.tool_calls, truncated=reply.finish_reason == "length")
        return self.final.result

    async def _make_calls(self, calls: Sequence[ToolCall], *, from_text: bool, truncated: bool) -> None:
        """Make calls; every one has its result in the conversation, also when the run must end meanwhile."""
        made = await self.tools.make(calls)
        for call, text in zip(calls, made, strict=True):
            result = f"not run: {text}" if isinstance(text, BaseException) else text
            if truncated and call is calls[-1]:
                result += f"\n{prompts.REPLY_TRUNCATED}"
            self._add_result(call, result, from_text=from_text)
        for raised in (one for one in made if isinstance(one, BaseException)):
            raise raised

    def _calls_in(self, reply: Reply) -> list[ToolCall]:
        self.final.allowed_in_code = bool(reply.tool_calls) or not self.native
        if reply.tool_calls:
            self.native = True
            return list(reply.tool_calls)
        names = self.tools.names if self.root else self.tools.names | {FINAL_ANSWER}
        found = text_tool_calls.parse_tool_calls(
            reply.content, names, self.context.task.final_answer, code=self.root or not self.native
        )
        if not self.final.allowed_in_code:
            found = [call for call in found if call[0] != FINAL_ANSWER]
        return list(text_tool_calls.with_ids(found, self.calls_made))

    def _record_reply(self, reply: Reply) -> Reply:
        """Add a reply to the conversation; calls get ids that are unique in the conversation."""
        used = {call.id for message in self.conversation.messages for call in message.tool_calls}
        calls = []
        for call in reply.tool_calls:
            unique = call.id
            for number in itertools.count(2):
                if unique and unique not in used:
                    break
                unique = f"{call.id or 'call'}_{number}"
            used.add(unique)
            calls.append(replace(call, id=unique))
        reply = replace(reply, tool_calls=tuple(calls))
        if text := chat_templates.readable(reply.content):
            self.last_text = text
        message = Message("assistant", reply.content or None, reply.tool_calls)
        self.conversation.add(message)
        self.context.emit(self.identity, message)
        return reply

    def _add_result(self, call: ToolCall, text: str, *, from_text: bool) -> None:
        """Add a result to the conversation: of a native call as role tool, else as a message that says what it is."""
        message = Message("tool", text, tool_call_id=call.id, name=call.name)
        self.context.emit(self.identity, message)
        if from_text:
            message = Message("user", result_as_text(call.name, text), name=call.name)
        self.conversation.add(message)

    def _without_call(self, reply: Reply) -> AgentResult | None:
        """Handle text without a call: the answer of a sub-agent; of the root, one reminder, and then the end."""
        if not self.root and (text := chat_templates.readable(reply.content)):
            return AgentResult(last_text=text)
        self.replies_without_call += 1
        if self.replies_without_call > NUDGES:
            reason = "the model wrote text twice where a call was needed, and gave no final_answer"
            self.context.ledger.stop("error", reason)
            return AgentResult(self.final.offered, self.last_text, stopped_by="error", reason=reason)
        self.context.trajectory.write("note", agent_id=self.id, note="nudge")
        note = f"{prompts.REPLY_TRUNCATED} " if reply.finish_reason == "length" else ""
        nudge = prompts.nudge(self.tools.specs) if self.root else prompts.NUDGE_CHILD
        self.conversation.add(Message("user", note + nudge))
        return None

    def _declines(self, reply: Reply) -> bool:
        return self.context.refusal_retries > 0 and not reply.tool_calls and bool(_DECLINES.match(reply.content))

    def _refused(self, reply: Reply) -> AgentResult | None:
        self.refusals += 1
        if self.refusals <= self.context.refusal_retries:
            self.conversation.add(Message("user", prompts.CONTINUE))
            return None
        reason = f"the model declined: {reply.content[:300] or 'without a word'}"
        if self.root:
            self.context.ledger.stop("error", reason)
        return AgentResult(last_text=self.last_text, stopped_by="error", reason=reason)


def _describe(error: ModelRefused | ModelUnavailable) -> str:
    code = getattr(error, "code", "")
    return f"{code}: {error}" if code else str(error)
