"""The client of every request to a model: reserves from the budget, asks, reconciles, records, and retries."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from halo_receiver.logs import event
from halo_worker.errors import ModelRefused, ModelUnavailable, RequestChanged
from halo_worker.rlm.budget import Denied, Ledger, Reservation
from halo_worker.rlm.messages import Message, Reply, ToolCall, ToolSpec, Usage
from halo_worker.rlm.provider.model import LanguageModel
from halo_worker.rlm.thinking import without_thinking
from halo_worker.rlm.trajectory import Trajectory
from halo_worker.rlm.truncation import valid_utf8

T = TypeVar("T")

BACKOFF_SECONDS = 0.5  # doubled with every attempt, and a random part of it waited: full jitter
BACKOFF_MOST_SECONDS = 30.0
PAUSE_MOST_SECONDS = 300.0  # a longer pause, asked for by a provider, is not waited for
POLL_SECONDS = 0.2  # how soon an interruption is seen
CHARACTERS_A_TOKEN = 3
OUTPUT_TOKENS = 16_384  # of one answer, reasoning included, where neither the model nor the caller says how many
# Every further request would get the same answer, so none is sent.
FATAL_CODES = frozenset({"invalid_api_key", "permission_denied", "model_not_found", "insufficient_quota"})
BREAKER = 3  # calls in a row whose every attempt failed: the provider is down
MAX_CHANGES = 20  # of the form of one call's request; as many as there are forms to give up, and then some
# Refusals of one request for its text: they say nothing of the next.
CODES_ABOUT_TEXT = frozenset({"context_length_exceeded", "content_filter"})
LOGGED_CHARACTERS = 300  # of a provider's error

_log = logging.getLogger("halo.model")


@dataclass(frozen=True, slots=True)
class _Request:
    """One request: the model, what is asked, and for which agent and purpose."""

    model: LanguageModel
    messages: Sequence[Message]
    purpose: str
    agent_id: str
    tools: Sequence[ToolSpec]
    schema: dict[str, Any] | None
    on_delta: Callable[[str], None] | None
    output_tokens: int
    final: bool


@dataclass(slots=True)
class _Attempt:
    """The outcome of one attempt; without reply and fault it was cancelled in flight."""

    number: int
    used: Usage = field(default_factory=Usage)
    estimated: bool = False
    reply: Reply | None = None
    fault: ModelUnavailable | ModelRefused | None = None


@dataclass(slots=True)
class _Health:
    """The recent failures of one model."""

    fatal: ModelRefused | ModelUnavailable | None = None
    exhausted: int = 0  # calls in a row whose every attempt failed
    answers: bool = False  # whether it has ever answered; until then it is asked one thing at a time
    probe: asyncio.Lock = field(default_factory=asyncio.Lock)


class RetryingClient:
    """Asks models for the agents and sub-calls of one run. Raises Denied, ModelRefused, ModelUnavailable."""

    def __init__(
        self,
        ledger: Ledger,
        trajectory: Trajectory,
        *,
        max_retries: int,
        backoff_seconds: float = BACKOFF_SECONDS,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.ledger = ledger
        self._trajectory = trajectory
        self._max_retries = max_retries
        self._answered = False  # by any model of this run
        self._backoff = backoff_seconds
        self._interrupted = interrupted
        self._healths: dict[int, _Health] = {}  # by model: where one is down, another may not be
        self._number = ledger.model_calls

    async def ask(
        self,
        model: LanguageModel,
        messages: Sequence[Message],
        *,
        purpose: str,
        agent_id: str,
        max_output_tokens: int | None = None,
        tools: Sequence[ToolSpec] = (),
        schema: dict[str, Any] | None = None,
        on_delta: Callable[[str], None] | None = None,
        final: bool = False,
    ) -> Reply:
        """Ask until there is a reply or no retry is left.

        `final`: the run's last call, which may use what was held back for it.

        Until a model has answered, calls wait for the first one: a dead endpoint costs one call, and how an endpoint
        wants to be asked is learned once.
        """
        own = getattr(model, "max_output_tokens", None)
        wanted = min(max_output_tokens or own or OUTPUT_TOKENS, own or OUTPUT_TOKENS)
        request = _Request(model, messages, purpose, agent_id, tools, schema, on_delta, wanted, final)
        health = self._healths.setdefault(id(model), _Health())
        if not health.answers:
            async with health.probe:
                if not health.answers:
                    return await self._ask(request, health)
        return await self._ask(request, health)  # beside all others that have waited

    async def _ask(self, request: _Request, health: _Health) -> Reply:
        if health.fatal is not None:
            raise health.fatal
        if health.exhausted >= BREAKER and not request.final:
            raise ModelUnavailable(f"{health.exhausted} calls in a row failed at every attempt: the provider is down")
        failed = changed = 0
        for number in itertools.count(1):
            attempt = await self._attempt(request, number)
            if attempt.reply is not None:
                health.exhausted, health.answers, self.ledger.unreached = 0, True, ""
                self._answered = True
                return attempt.reply
            assert attempt.fault is not None
            self.ledger.unreached = "" if self._answered else str(attempt.fault)
            if isinstance(attempt.fault, RequestChanged) and changed < MAX_CHANGES:
                changed += 1
                event(_log, "model request changed", reason=str(attempt.fault)[:LOGGED_CHARACTERS])
                continue
            failed += 1
            await self._wait_or_raise(attempt.fault, failed, health, final=request.final)
        raise AssertionError("unreachable")

    async def _attempt(self, request: _Request, number: int) -> _Attempt:
        """Reserve, ask once, reconcile and record, whatever the outcome. Raises Denied."""
        model, ledger = request.model, self.ledger
        estimate = model.estimate(request.messages, request.tools)
        reservation = await self._reserved(request, estimate)
        self._number += 1
        attempt = _Attempt(self._number)
        began = ledger.seconds
        self._trajectory.write("asked", agent_id=request.agent_id, call=attempt.number, input_tokens=estimate)
        received_characters = 0

        def on_delta(text: str) -> None:
            nonlocal received_characters
            received_characters += len(text)
            if request.on_delta is not None:
                request.on_delta(text)

        try:
            answering = model.ask(
                request.messages,
                tools=request.tools,
                schema=request.schema,
                max_output_tokens=reservation.output_tokens,
                on_delta=on_delta,
            )
            reply = await self.within(answering, final=request.final)
            attempt.used, attempt.estimated = _counted(reply, estimate)
            attempt.reply = _cleaned(reply)
        except (ModelUnavailable, ModelRefused) as error:
            attempt.fault = error
            received = getattr(error, "received", None)
            if received is not None:  # the provider worked on the request, and may charge for it
                attempt.used, attempt.estimated = Usage(estimate, received // CHARACTERS_A_TOKEN), True
        except (Denied, asyncio.CancelledError):  # cancelled: it may charge for input and output so far
            attempt.used, attempt.estimated = Usage(estimate, received_characters // CHARACTERS_A_TOKEN), True
            raise
        except Exception as error:  # noqa: BLE001  a bug of an implementation is retried as well
            attempt.fault = ModelUnavailable(f"{type(error).__name__}: {error}")
        finally:
            if attempt.used.cost_usd is None and attempt.used != Usage():
                attempt.used = replace(attempt.used, cost_usd=model.cost(attempt.used))
            took = ledger.seconds - began
            self._record(request, attempt, number, took)
            await ledger.settle(reservation, attempt.used, estimated=attempt.estimated, took=took)
        return attempt

    def _record(self, request: _Request, attempt: _Attempt, number: int, took: float) -> None:
        reply, fault, used = attempt.reply, attempt.fault, attempt.used
        self._trajectory.write(
            "model",
            agent_id=request.agent_id,
            call=attempt.number,
            purpose=request.purpose,
            attempt=number,
            model=(reply.model if reply else "") or request.model.name,
            seconds=round(took, 4),
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cached_tokens=used.cached_tokens,
            reasoning_tokens=used.reasoning_tokens,
            cost_usd=used.cost_usd,
            estimated=attempt.estimated or None,
            finish_reason=reply.finish_reason if reply else None,
            content=reply.content if reply else None,
            tool_calls=[[c.id, c.name, c.arguments] for c in reply.tool_calls] if reply else None,
            error=str(fault) if fault else (None if reply else "stopped in flight"),
            error_type=type(fault).__name__ if fault else None,
            error_code=getattr(fault, "code", None),
        )

    async def _wait_or_raise(
        self, fault: ModelUnavailable | ModelRefused, attempt: int, health: _Health, *, final: bool
    ) -> None:
        """Wait until the next attempt, or raise when there is none."""
        if isinstance(fault, ModelRefused):
            if fault.code in FATAL_CODES or not (health.answers or fault.code in CODES_ABOUT_TEXT):
                self._give_up(fault, health)
            raise fault
        left = self.ledger.seconds_left(final=final)
        pause = random.uniform(0, min(BACKOFF_MOST_SECONDS, self._backoff * 2 ** (attempt - 1)))  # noqa: S311
        if fault.retry_after is not None:
            pause = fault.retry_after
        if attempt > self._max_retries or pause > PAUSE_MOST_SECONDS or (left is not None and pause >= left):
            health.exhausted += 1
            if not health.answers:
                self._give_up(fault, health)
            elif health.exhausted >= BREAKER:
                self.ledger.stop("error", str(fault))
            raise fault
        event(
            _log, "model call retried", level=logging.WARNING, attempt=attempt + 1, of=self._max_retries + 1,
            wait_seconds=pause, error=str(fault)[:LOGGED_CHARACTERS],
        )  # fmt: skip
        await self.within(asyncio.sleep(pause), final=final)

    def _give_up(self, fault: ModelRefused | ModelUnavailable, health: _Health) -> None:
        """Ask this model nothing more in this run."""
        health.fatal = fault
        self.ledger.stop("error", str(fault))

    async def _reserved(self, request: _Request, estimate: int) -> Reservation:
        """Reserve for one attempt. Raises Denied."""
        reserve = self.ledger.reserve(estimate, request.output_tokens, request.model.cost, final=request.final)
        reserving = asyncio.ensure_future(reserve)
        try:
            return await self.within(reserving, final=request.final)
        except BaseException:
            # Granted at the moment at which the caller was cancelled: nobody else would give it back.
            if reserving.done() and not reserving.cancelled() and reserving.exception() is None:
                await self.ledger.withdraw(reserving.result())
            raise

    async def within(self, awaited: Awaitable[T], *, final: bool = False) -> T:
        """Await something until it is done; the deadline and an interruption cancel it, and raise Denied."""
        task = asyncio.ensure_future(awaited)
        try:
            while True:
                if self._interrupted():
                    raise Denied("interrupted", "the run was interrupted")
                left = self.ledger.seconds_left(final=final)
                if left is not None and left <= 0:
                    raise Denied("seconds", f"the time of {self.ledger.limits.seconds:g} s is used up")
                done, _ = await asyncio.wait({task}, timeout=min(POLL_SECONDS, left or POLL_SECONDS))
                if done:
                    return task.result()
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task


def _cleaned(reply: Reply) -> Reply:
    """The answer alone, without thinking aloud, as text that can be written and sent again."""
    calls = tuple(
        ToolCall(valid_utf8(call.id), valid_utf8(call.name), valid_utf8(call.arguments)) for call in reply.tool_calls
    )
    return replace(reply, content=valid_utf8(without_thinking(reply.content)), tool_calls=calls)


def _counted(reply: Reply, estimate: int) -> tuple[Usage, bool]:
    """Usage as the provider counted it; where it reports none, the estimate and the length of the answer."""
    if reply.usage.input_tokens or reply.usage.output_tokens:
        return reply.usage, False
    said = len(reply.content) + sum(len(call.arguments) + len(call.name) for call in reply.tool_calls)
    return Usage(estimate, said // CHARACTERS_A_TOKEN + 1), True
