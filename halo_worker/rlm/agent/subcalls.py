"""One question to the sub model, or many at once: in order, bounded, validated, cached; errors are objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm.agent import prompts, text_tool_calls, tool_arguments
from halo_worker.rlm.budget import Denied
from halo_worker.rlm.json_schema import BadSchema, Validator
from halo_worker.rlm.lenient_json import extract_json
from halo_worker.rlm.messages import Message, Reply
from halo_worker.rlm.provider.model import LanguageModel
from halo_worker.rlm.provider.response_cache import ResponseCache
from halo_worker.rlm.provider.retrying_client import RetryingClient
from halo_worker.rlm.tool import ToolError
from halo_worker.rlm.truncation import truncate

OUTPUT_TOKENS = 8_192  # of one sub-call
PROMPT_CHARACTERS = 4 * 2**20  # of one sub-call, whatever the model takes
REPAIRS = 2  # how often a value that does not validate goes back
PARTIAL_BYTES = 4_000  # of a truncated answer, shown with the error


@dataclass(frozen=True, slots=True)
class SubResult:
    """The outcome of one sub-call: `value` (text, or validated JSON when a schema was given), or a typed error.

    An error is an object and never text in the data: `{"type": "budget" | "refused" | "unavailable" | "invalid" |
    "truncated", "message": …}`, of a truncated one also `partial`, the part that came.
    """

    value: Any = None
    error: dict[str, str] | None = None
    cached: bool = False


@dataclass(slots=True)
class SubCalls:
    """The sub model of one run, with its cache and its bound on parallel calls."""

    model: LanguageModel
    client: RetryingClient
    cache: ResponseCache
    parallel: int
    on_prompt: Callable[[str], None] = lambda _: None  # told of every prompt, also of those that the cache answers
    _slots: asyncio.Semaphore = field(init=False)
    _running: dict[str, asyncio.Task[SubResult]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.parallel)

    async def query(
        self, prompt: str, *, schema: dict[str, Any] | None = None, system: str | None = None, agent_id: str = ""
    ) -> SubResult:
        """Ask one thing. What was asked before is answered from the cache, what is being asked is asked once."""
        try:
            validator = Validator(schema) if schema is not None else None
        except BadSchema as error:
            return SubResult(error={"type": "invalid", "message": str(error)})
        size = len(prompt) + len(system or "")
        if size > PROMPT_CHARACTERS:
            message = f"the prompt has {size:,} characters, at most {PROMPT_CHARACTERS:,} are asked: split it"
            return SubResult(error={"type": "invalid", "message": message})
        self.on_prompt(prompt)
        system = prompts.sub_system(system, validator.schema if validator else None)
        key = ResponseCache.key(self.model.name, system, prompt, schema)
        known, value = await asyncio.to_thread(self.cache.get, key)
        if known:
            return SubResult(value, cached=True)
        while (running := self._running.get(key)) is not None:
            await asyncio.wait({running})
            if not running.cancelled():
                return running.result()
        task = asyncio.create_task(self._ask(key, system, prompt, validator, agent_id))
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))
        return await task

    async def batch(
        self,
        asked: Sequence[str],
        *,
        schema: dict[str, Any] | None = None,
        system: str | None = None,
        agent_id: str = "",
    ) -> list[SubResult]:
        """Ask many things; the results are in the order of the prompts, errors included."""
        calls = (self.query(prompt, schema=schema, system=system, agent_id=agent_id) for prompt in asked)
        return await asyncio.gather(*calls)

    async def _ask(self, key: str, system: str, prompt: str, validator: Validator | None, agent_id: str) -> SubResult:
        messages = [Message("system", system), Message("user", prompt)]
        async with self._slots:
            result = await ask_validated(
                self.client, self.model, messages, validator, purpose="sub", agent_id=agent_id, output=OUTPUT_TOKENS
            )
        if result.error is None:
            await asyncio.to_thread(self.cache.put, key, result.value)
        return result


async def ask_validated(
    client: RetryingClient,
    model: LanguageModel,
    messages: Sequence[Message],
    validator: Validator | None,
    *,
    purpose: str,
    agent_id: str,
    output: int,
    final: bool = False,
) -> SubResult:
    """Ask a model for text, or for JSON that validates, sending back what does not. Never raises for a model's sake."""
    conversation = list(messages)
    schema = validator.schema if validator else None
    for attempt in range(REPAIRS + 1):
        try:
            reply = await client.ask(
                model,
                conversation,
                purpose=purpose if not attempt else "repair",
                agent_id=agent_id,
                schema=schema,
                max_output_tokens=output,
                final=final,
            )
        except Denied as denied:
            if not denied.oversized:
                client.ledger.stop(denied.stop, denied.reason)
            return SubResult(error={"type": "budget", "message": denied.reason})
        except ModelRefused as error:
            return SubResult(
                error={"type": "refused", "message": f"{error.code}: {error}" if error.code else str(error)}
            )
        except ModelUnavailable as error:
            return SubResult(error={"type": "unavailable", "message": str(error)})
        result = _read(reply, validator)
        if result.error is None or result.error["type"] == "refused":
            return result
        conversation += [
            Message("assistant", truncate(reply.content, PARTIAL_BYTES)),
            Message("user", prompts.repair_json(result.error["message"], schema)),
        ]
        if validator is None:
            return result
    return result


def _read(reply: Reply, validator: Validator | None) -> SubResult:
    if reply.refusal or reply.finish_reason == "content_filter":
        return SubResult(error={"type": "refused", "message": truncate(reply.content, 500) or "the model declined"})
    too_long = reply.finish_reason == "length"
    truncated = {
        "type": "truncated",
        "message": "the answer was longer than allowed: ask for less at once",
        "partial": truncate(reply.content, PARTIAL_BYTES),
    }
    if validator is None:
        return SubResult(error=truncated) if too_long else SubResult(reply.content)
    try:
        value = extract_json(reply.content)
        problems = validator.problems(value)
    except ValueError as error:
        value, problems = None, [str(error)]
    if not problems:
        return SubResult(value)
    for name, given in text_tool_calls.parse_tool_calls(reply.content, (), {}, code=False):
        try:  # some answer with a call of a tool that they were not offered
            return SubResult(tool_arguments.parse(name, given, validator.schema))
        except ToolError:
            continue
    return SubResult(error=truncated if too_long else {"type": "invalid", "message": "; ".join(problems)})


def as_data(result: SubResult) -> Any:
    """Return a result as code sees it: the value, or `{"error": {"type", "message"}}`."""
    return result.value if result.error is None else {"error": dict(result.error)}
