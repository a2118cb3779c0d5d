"""The types of the Python API: those of the published HALO engine, and what ours adds to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from halo_worker.rlm.agent.session import Event
from halo_worker.rlm.messages import Message, ToolCall

Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class _Strict(BaseModel):
    """The base of every type here: nothing unknown."""

    model_config = ConfigDict(extra="forbid")


class ModelConfig(_Strict):
    """One model and how it is asked. What is None is left to the provider."""

    name: str
    temperature: float | None = Field(default=None, ge=0, le=2)
    maximum_output_tokens: int | None = Field(default=None, gt=0)
    parallel_tool_calls: bool = True
    reasoning_effort: Effort | None = None


class AgentConfig(_Strict):
    """One kind of agent. `final_answer_reprompts` is accepted; a run that ends in prose is always asked once more."""

    name: str
    model: ModelConfig
    maximum_turns: int = Field(gt=0)
    refusal_retries: int = Field(default=0, ge=0)
    final_answer_reprompts: int = Field(default=1, ge=0)


class ModelProviderConfig(_Strict):
    """Where the models are; without it OPENAI_API_KEY and OPENAI_BASE_URL. `api` is ours: which one is spoken."""

    base_url: str | None = None
    api_key: str | None = Field(default=None, repr=False)
    default_headers: dict[str, str] | None = None
    api: Literal["chat", "responses"] = "chat"


class TraceIndexConfig(_Strict):
    """Accepted, without effect: there is no index beside the traces."""

    index_dir: Path | None = None
    schema_version: int = 2


class EngineConfig(_Strict):
    """How a run works.

    Without effect, and accepted so that a configuration of HALO's works: `compaction_model`, `trace_index` and the two
    `…_compaction_keep_last_…`. The `maximum_` of tokens, cost and seconds are ours; None means no limit.
    """

    root_agent: AgentConfig
    subagent: AgentConfig
    synthesis_model: ModelConfig | None = None
    compaction_model: ModelConfig | None = None
    model_provider: ModelProviderConfig = Field(default_factory=lambda: ModelProviderConfig())
    trace_index: TraceIndexConfig = Field(default_factory=TraceIndexConfig)
    text_message_compaction_keep_last_messages: int = Field(default=12, ge=0)
    tool_call_compaction_keep_last_turns: int = Field(default=3, ge=0)
    maximum_depth: int = Field(default=2, ge=0)
    maximum_parallel_subagents: int = Field(default=4, gt=0)
    emit_run_checkpoints: bool = False
    dataset_context: str | None = None
    repo_path: Path | None = None
    maximum_tokens: int | None = Field(default=2_000_000, gt=0)
    maximum_cost_usd: float | None = Field(default=5.0, gt=0)
    maximum_seconds: float | None = Field(default=1800.0, gt=0)


class AgentToolFunction(_Strict):
    """The function of a tool call; `arguments` as the model sent them."""

    name: str
    arguments: str


class AgentToolCall(_Strict):
    """One tool call of an assistant's message."""

    id: str
    type: Literal["function"] = "function"
    function: AgentToolFunction


class AgentMessage(_Strict):
    """One message of a conversation, in the form of chat completions."""

    role: Role
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[AgentToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    def to_message(self) -> Message:
        """Return it as the engine has it; of a content in parts, the text."""
        content = self.content
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content)
        calls = tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in self.tool_calls or ())
        return Message(self.role, content, calls, self.tool_call_id, self.name)

    @classmethod
    def from_message(cls, message: Message) -> AgentMessage:
        """Return a message of the engine as the API has it."""
        calls = [
            AgentToolCall(id=call.id, function=AgentToolFunction(name=call.name, arguments=call.arguments))
            for call in message.tool_calls
        ]
        return cls(
            role=message.role,
            content=message.content,
            tool_calls=calls or None,
            tool_call_id=message.tool_call_id,
            name=message.name,
        )


class AgentOutputItem(_Strict):
    """A message of an agent. `sequence` is strictly increasing over all agents and kinds; the answer is `final`."""

    sequence: int
    agent_id: str
    parent_agent_id: str | None
    parent_tool_call_id: str | None
    agent_name: str
    depth: int
    item: AgentMessage
    final: bool = False


class AgentTextDelta(_Strict):
    """A piece of an agent's text as it streams; the whole comes as an item afterwards."""

    sequence: int
    agent_id: str
    parent_agent_id: str | None
    parent_tool_call_id: str | None
    depth: int
    item_id: str
    text_delta: str


class RunCheckpoint(_Strict):
    """The root agent's conversation at the end, with `emit_run_checkpoints`; given as `messages`, it goes on."""

    sequence: int
    agent_id: str
    turns_used: int
    messages: list[AgentMessage]


EngineOutput = AgentOutputItem | AgentTextDelta | RunCheckpoint


def output_of(event: Event) -> AgentOutputItem | AgentTextDelta:
    """Return an event of the engine as the API has it."""
    if event.item is None:
        return AgentTextDelta(
            sequence=event.sequence,
            agent_id=event.agent_id,
            parent_agent_id=event.parent_agent_id,
            parent_tool_call_id=event.parent_tool_call_id,
            depth=event.depth,
            item_id=event.item_id,
            text_delta=event.text_delta or "",
        )
    return AgentOutputItem(
        sequence=event.sequence,
        agent_id=event.agent_id,
        parent_agent_id=event.parent_agent_id,
        parent_tool_call_id=event.parent_tool_call_id,
        agent_name=event.agent_name,
        depth=event.depth,
        item=AgentMessage.from_message(event.item),
        final=event.final,
    )
