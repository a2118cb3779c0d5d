"""One agent: a conversation, an interpreter, and the loop of turns until it ends. The root is one, its children too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm.agent import model_turn, prompts, text_tool_calls, tool_arguments
from halo_worker.rlm.agent.builtin_tools import FINAL_ANSWER, GET_CONTEXT_ITEM
from halo_worker.rlm.agent.conversation import Conversation
from halo_worker.rlm.agent.model_turn import FINAL_OUTPUT_TOKENS
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.agent.tool_dispatch import ToolDispatch
from halo_worker.rlm.budget import Denied, Stop
from halo_worker.rlm.messages import Message, Reply, ToolCall, Usage
from halo_worker.rlm.tool import ToolError
from halo_worker.rlm.truncation import text_of

NUDGES = 1  # how often prose without an action is answered with what to do

_DECLINES = re.compile(
    r"\s*(I'm sorry,? but I can(no|')t|I can(no|')t (assist|help)|I'm unable to (assist|help))", re.I
)


@dataclass(frozen=True, slots=True)
class AgentResult:
    """How an agent ended. `arguments` of an accepted final answer, else `said`: the last thing it wrote."""

    arguments: dict[str, Any] | None = None
    said: str | None = None
    stopped_by: Stop | None = None
    reason: str = ""
    problems: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Agent:
    """An agent of a run."""

    shared: RunContext
    id: str
    name: str
    depth: int
    system: str
    parent_id: str | None = None
    parent_tool_call_id: str | None = None
    conversation: Conversation = field(default_factory=Conversation)
    turn: int = 0
    calls_made: int = 0
    repaired: bool = False
    idle: int = 0  # replies in a row without an action
    declined: int = 0
    native: bool = False  # whether it has made a native tool call
    # Who makes native calls ends the run by one: its text may be a quotation, also of code that would end the run.
    may_finish: bool = True
    said: str | None = None
    flat: bool = False  # whether calls are told as text, since the endpoint refuses them in the history
    heard: list[str] = field(default_factory=list)  # what has streamed of the reply that is being given
    ended: AgentResult | None = None
    hands: ToolDispatch = field(init=False)

    def __post_init__(self) -> None:
        self.conversation.tokens = self.shared.context_tokens
        self.hands = ToolDispatch(self)

    @property
    def root(self) -> bool:
        """Whether it is the one that answers the task."""
        return self.depth == 0

    @property
    def turns(self) -> int:
        """How many turns it has."""
        return self.shared.limits.turns

    async def run(self) -> AgentResult:
        """Work until the end, whatever the model or the provider does."""
        stop: Stop
        try:
            ended = await self._turns()
            if ended is not None:
                return ended
            stop, reason = "turns", f"all {self.turns} turns are used"
        except Denied as denied:
            stop, reason = denied.stop, denied.reason
        except (ModelRefused, ModelUnavailable) as error:
            stop, reason = "error", _told(error)
        if self.root:
            self.shared.ledger.stop(stop, reason)
        if stop == "turns" or (self.root and stop in ("tokens", "cost", "seconds")):
            try:
                return await self._last(stop, reason)
            except Denied as denied:
                reason += f"; no last answer: {denied.reason}"
                self.said = "".join(self.heard) or self.said  # what it had written of it when it was cut
            except (ModelRefused, ModelUnavailable) as error:
                reason += f"; no last answer: {_told(error)}"
        return AgentResult(said=self.said, stopped_by=stop, reason=reason)

    async def _turns(self) -> AgentResult | None:
        """Turn by turn; None when only the last one is left."""
        while self.turn < self.turns - 1:
            self._begin_turn()
            reply = await model_turn.ask(self, self._status(), self.hands.specs)
            ended = await self._act(reply)
            self.shared.after_turn(self)
            if ended is not None:
                return ended
        return None

    async def _last(self, stop: Stop, reason: str) -> AgentResult:
        """The forced end: one turn with nothing to call but final_answer."""
        if self.turn < self.turns:
            self._begin_turn()
        line = self._status() if stop == "turns" else prompts.budget_ended(reason, root=self.root)
        # Some endpoints want tools to be offered as long as the history has calls: a child gets the most harmless.
        only = FINAL_ANSWER if self.root else GET_CONTEXT_ITEM
        specs = [spec for spec in self.hands.specs if spec.name == only]
        reply = await model_turn.ask(self, line, specs, final=self.root)
        reply = self._said(reply)
        if self.root:
            for call in self._actions(reply):
                if call.name == FINAL_ANSWER:
                    await self._finish(call, last=True)
                    if self.ended is not None:
                        return replace(self.ended, stopped_by=stop, reason=reason)
                    self.said = call.arguments  # cut, or malformed: what it says is still the last word
        return AgentResult(said=self.said, stopped_by=stop, reason=reason)

    def _begin_turn(self) -> None:
        self.turn += 1
        if self.root:
            ledger = self.shared.ledger
            ledger.turns = self.turn
            tokens = self.estimate(self.conversation.messages)
            ledger.hold_back(tokens + FINAL_OUTPUT_TOKENS, self.shared.model.cost(Usage(tokens, FINAL_OUTPUT_TOKENS)))

    def estimate(self, messages: Sequence[Message]) -> int:
        """Estimate the tokens of a request with these messages."""
        return self.shared.model.estimate(messages, self.hands.specs)

    def _status(self) -> str:
        return prompts.status(
            turn=self.turn,
            turns=self.turns,
            left=self.shared.ledger.left(),
            more=self.shared.status() if self.root else "",
            root=self.root,
            depth=self.depth,
        )

    async def _act(self, reply: Reply) -> AgentResult | None:
        """Do what a reply asks for; return how the agent ended, if it did."""
        if reply.finish_reason == "content_filter" and model_turn.withheld(self):
            return None
        if reply.refusal or self._declines(reply):
            return self._refused(reply)
        reply = self._said(reply)
        calls = self._actions(reply)
        if not calls:
            return self._prose(reply)
        self.idle = 0
        final = next((call for call in calls if call.name == FINAL_ANSWER and self.root), None)
        if final is not None:
            text = await self._finish(final)
            if self.ended is not None:
                return self.ended
            rest = {final.id: text} | {c.id: prompts.NOT_RUN for c in calls if c.id != final.id}
            for call in calls:
                self._result(call, rest[call.id], text_action=not reply.tool_calls)
            return None
        await self._do(calls, text_action=not reply.tool_calls, cut=reply.finish_reason == "length")
        return self.ended

    async def _do(self, calls: Sequence[ToolCall], *, text_action: bool, cut: bool) -> None:
        """Make calls; every one has its result in the conversation, also when the run must end meanwhile."""
        made = await self.hands.make(calls)
        for call, text in zip(calls, made, strict=True):
            said = f"not run: {text}" if isinstance(text, BaseException) else text
            if cut and call is calls[-1]:
                said += f"\n{prompts.CUT_SHORT}"
            self._result(call, said, text_action=text_action)
        for raised in (one for one in made if isinstance(one, BaseException)):
            raise raised

    async def _finish(self, call: ToolCall, *, last: bool = False) -> str:
        """Look at a final answer; accept it, or return what is to be mended."""
        try:
            given = tool_arguments.read(call.name, call.arguments, self.hands.schema(FINAL_ANSWER))
        except ToolError as error:
            return text_of({"error": str(error)})
        return await self.offer(given, last=last)

    async def offer(self, given: dict[str, Any], *, last: bool = False) -> str:
        """Offer the arguments of final_answer; what fails the first look goes back once."""
        if self.ended is not None:
            return prompts.ACCEPTED
        problems = await self.shared.check(given)
        if problems and not self.repaired and not last:
            self.repaired = True
            self.shared.trajectory.write("note", agent_id=self.id, note="repair", problems=list(problems))
            return prompts.rejected(problems)
        self.ended = AgentResult(arguments=given, problems=problems)
        return prompts.ACCEPTED

    def _actions(self, reply: Reply) -> list[ToolCall]:
        self.may_finish = bool(reply.tool_calls) or not self.native
        if reply.tool_calls:
            self.native = True
            return list(reply.tool_calls)
        names = self.hands.names if self.root else self.hands.names | {FINAL_ANSWER}
        found = text_tool_calls.actions_in(
            reply.content, names, self.shared.task.final_answer, code=self.root or not self.native
        )
        if not self.may_finish:
            found = [action for action in found if action[0] != FINAL_ANSWER]
        return list(text_tool_calls.numbered(found, self.calls_made))

    def _said(self, reply: Reply) -> Reply:
        """Keep what the model wrote; calls get ids that are unique in the conversation."""
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
        if reply.content.strip():
            self.said = reply.content
        message = Message("assistant", reply.content or None, reply.tool_calls)
        self.conversation.add(prompts.as_text(message) if self.flat else message)
        self.shared.emit(self, message)
        return reply

    def _result(self, call: ToolCall, text: str, *, text_action: bool) -> None:
        """Put a result into the conversation: of a native call as role tool, else as a message that says what it is."""
        message = Message("tool", text, tool_call_id=call.id, name=call.name)
        self.shared.emit(self, message)
        if text_action or self.flat:
            message = Message("user", prompts.result_as_text(call.name, text), name=call.name)
        self.conversation.add(message)

    def _prose(self, reply: Reply) -> AgentResult | None:
        """Text without an action: a child's answer; of the root, one reminder, and then the end."""
        if not self.root and reply.content.strip():
            return AgentResult(said=reply.content)
        self.idle += 1
        if self.idle > NUDGES:
            reason = "the model wrote text twice where a call was needed, and gave no final_answer"
            self.shared.ledger.stop("error", reason)
            return AgentResult(said=self.said, stopped_by="error", reason=reason)
        self.shared.trajectory.write("note", agent_id=self.id, note="nudge")
        cut = f"{prompts.CUT_SHORT} " if reply.finish_reason == "length" else ""
        self.conversation.add(
            Message("user", cut + (prompts.nudge(self.hands.specs) if self.root else prompts.NUDGE_CHILD))
        )
        return None

    def _declines(self, reply: Reply) -> bool:
        return self.shared.refusal_retries > 0 and not reply.tool_calls and bool(_DECLINES.match(reply.content))

    def _refused(self, reply: Reply) -> AgentResult | None:
        self.declined += 1
        if self.declined <= self.shared.refusal_retries:
            self.conversation.add(Message("user", prompts.CONTINUE))
            return None
        reason = f"the model declined: {reply.content[:300] or 'without a word'}"
        if self.root:
            self.shared.ledger.stop("error", reason)
        return AgentResult(said=self.said, stopped_by="error", reason=reason)


def _told(error: ModelRefused | ModelUnavailable) -> str:
    code = getattr(error, "code", "")
    return f"{code}: {error}" if code else str(error)
