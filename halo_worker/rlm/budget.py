"""One ledger a run: turns, model calls, tokens, dollars, seconds, depth, parallel calls.

Reserve before every call, reconcile after; children draw from the same ledger and retries count. Whatever a model or
a provider does, spending never passes a limit by more than the calls that were in flight when it was reached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from halo_worker.rlm.messages import Usage

Stop = Literal["turns", "tokens", "cost", "seconds", "error", "interrupted"]
Price = Callable[[Usage], float | None]

MIN_OUTPUT_TOKENS = 256  # a call that could answer with less is not worth its input
# What ordinary calls leave for the last one, so that a run that spends its budget can still say what it found.
HOLD_BACK_SHARE = 0.1
HOLD_BACK_TOKENS = 40_000
HOLD_BACK_MOST = 1 / 3
OVERSIZED = 1 / 4  # of a limit, from which a call's input is large by itself


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """What one run may spend; None means no limit. Defaults as HALO 0.3.5, and what it lacks."""

    turns: int = 20  # of the root agent; a child has as many of its own at most
    depth: int = 2
    parallel: int = 10  # for each depth
    tokens: int | None = 2_000_000
    cost_usd: float | None = 5.0
    seconds: float | None = 1800.0


class Denied(Exception):  # noqa: N818
    """The budget does not allow the call. An outcome, not a fault: it never leaves the engine.

    `oversized`: it is the call that is too large, while others could still be made.
    """

    def __init__(self, stop: Stop, reason: str, *, oversized: bool = False) -> None:
        super().__init__(reason)
        self.stop = stop
        self.reason = reason
        self.oversized = oversized


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """What one attempt may use at most. `cost_usd` is 0 where no price is known."""

    input_tokens: int
    output_tokens: int
    cost_usd: float

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens


class Ledger:
    """What a run has spent and what is left. One per run, shared by every agent of it."""

    def __init__(self, limits: BudgetLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.usage = Usage()
        self.model_calls = 0  # attempts, retries included
        self.turns = 0  # of the root agent
        self.stopped: Stop | None = None  # the first limit that was reached
        self.reason = ""
        self.unreached = ""  # the fault of the last attempt, until a model has answered once
        self.unpriced_calls = 0  # whose cost nobody knows: the limit in dollars cannot hold them
        self.estimated_calls = 0  # whose provider reported no usage
        self._clock = clock
        self._began = clock()
        self._in_flight: set[Reservation] = set()
        self._settled = asyncio.Condition()
        self._longest = 0.0
        self._held_tokens = int(min(HOLD_BACK_TOKENS, (limits.tokens or 0) * HOLD_BACK_SHARE))
        self._held_cost = (limits.cost_usd or 0.0) * HOLD_BACK_SHARE

    @property
    def seconds(self) -> float:
        """Wall time since the run began."""
        return self._clock() - self._began

    def resume(self, usage: Usage, *, model_calls: int, seconds: float) -> None:
        """Take over what an earlier attempt at this run has spent."""
        self.usage = usage
        self.model_calls = model_calls
        self._began = self._clock() - seconds

    def stop(self, stop: Stop, reason: str) -> None:
        """Note the first limit that was reached."""
        if self.stopped is None:
            self.stopped, self.reason = self.cause(stop, reason)

    def cause(self, stop: Stop, reason: str) -> tuple[Stop, str]:
        """Return what ended a run: a time in which no model ever answered ended by what kept it from answering."""
        return ("error", f"{self.unreached}; {reason}") if stop == "seconds" and self.unreached else (stop, reason)

    def hold_back(self, tokens: int, cost_usd: float | None) -> None:
        """Keep this much for the last call; a third of a limit at most."""
        limits = self.limits
        if limits.tokens is not None:
            self._held_tokens = int(min(tokens, limits.tokens * HOLD_BACK_MOST))
        if limits.cost_usd is not None and cost_usd is not None:
            self._held_cost = min(cost_usd, limits.cost_usd * HOLD_BACK_MOST)

    def seconds_left(self, *, final: bool = False) -> float | None:
        """Seconds until the deadline, which is earlier for all but the last call; None without a limit."""
        limit = self.limits.seconds
        if limit is None:
            return None
        held = 0.0 if final else min(limit / 4, max(limit * HOLD_BACK_SHARE, 1.5 * self._longest))
        return limit - held - self.seconds

    def tokens_left(self, *, final: bool = False) -> int | None:
        """Tokens that neither are spent, nor reserved by calls in flight, nor held back."""
        if self.limits.tokens is None:
            return None
        spent = self.usage.input_tokens + self.usage.output_tokens + sum(one.tokens for one in self._in_flight)
        return self.limits.tokens - spent - (0 if final else self._held_tokens)

    def cost_left(self, *, final: bool = False) -> float | None:
        """Dollars, counted like `tokens_left`."""
        if self.limits.cost_usd is None:
            return None
        spent = (self.usage.cost_usd or 0.0) + sum(one.cost_usd for one in self._in_flight)
        return self.limits.cost_usd - spent - (0 if final else self._held_cost)

    async def reserve(self, input_tokens: int, output_tokens: int, price: Price, *, final: bool = False) -> Reservation:
        """Set aside what one attempt may use: the input as estimated, and as much output as is wanted, or is left.

        Waits while calls in flight hold what it needs, for most of them give some back. `final`: the last call of a
        run, which may use what was held back for it. Raises Denied when it would pass a limit.
        """
        while True:
            left = self.seconds_left(final=final)
            if left is not None and left <= 0:
                raise Denied("seconds", f"the time of {self.limits.seconds:g} s is used up")
            output, denied = self._allowed(input_tokens, output_tokens, price, final=final)
            if output >= output_tokens or (not self._in_flight and output >= MIN_OUTPUT_TOKENS):
                break
            if not self._in_flight:
                assert denied is not None
                raise denied
            async with self._settled:
                await self._settled.wait()
        cost = price(Usage(input_tokens, min(output, output_tokens))) or 0.0
        reservation = Reservation(input_tokens, min(output, output_tokens), cost)
        self._in_flight.add(reservation)
        self.model_calls += 1
        return reservation

    def _allowed(self, input_tokens: int, wanted: int, price: Price, *, final: bool) -> tuple[int, Denied | None]:
        """Return how much output fits, and the limit that bounds it."""
        output, denied = wanted, None
        tokens = self.tokens_left(final=final)
        if tokens is not None and tokens - input_tokens < output:
            output = tokens - input_tokens
            denied = Denied(
                "tokens",
                f"of {self.limits.tokens:,} tokens {max(tokens, 0):,} are left, the call needs {input_tokens:,}",
                oversized=input_tokens > (self.limits.tokens or 0) * OVERSIZED,
            )
        dollars = self.cost_left(final=final)
        asked = price(Usage(input_tokens))
        if dollars is not None and asked is not None:
            a_thousand = (price(Usage(input_tokens, 1_000)) or asked) - asked
            affordable = (dollars - asked) / a_thousand * 1_000 if a_thousand > 0 else float(wanted)
            if dollars < asked:
                affordable = 0
            if affordable < output:
                output = int(affordable)
                denied = Denied(
                    "cost",
                    f"of ${self.limits.cost_usd:g} ${max(dollars, 0):.4f} are left, the call needs ${asked:.4f}",
                    oversized=asked > (self.limits.cost_usd or 0) * OVERSIZED,
                )
        return output, denied

    async def settle(self, reservation: Reservation, used: Usage, *, estimated: bool = False, took: float = 0) -> None:
        """Replace a reservation by what was used. `took`: seconds of the call."""
        self._in_flight.discard(reservation)
        was = self.usage
        cost = was.cost_usd if used.cost_usd is None else (was.cost_usd or 0.0) + used.cost_usd
        if used.cost_usd is None and used.input_tokens + used.output_tokens:
            self.unpriced_calls += 1
        self.estimated_calls += estimated
        self._longest = max(self._longest, took)
        self.usage = Usage(
            was.input_tokens + used.input_tokens,
            was.output_tokens + used.output_tokens,
            was.cached_tokens + used.cached_tokens,
            was.reasoning_tokens + used.reasoning_tokens,
            cost,
        )
        async with self._settled:
            self._settled.notify_all()

    async def withdraw(self, reservation: Reservation) -> None:
        """Give a reservation back whose call was never made."""
        self.model_calls -= 1
        await self.settle(reservation, Usage())

    def left(self) -> str:
        """Say in a line what is left, for a model and for a person."""
        parts = []
        if (tokens := self.tokens_left()) is not None:
            parts.append(f"{max(tokens, 0):,} tokens")
        if (cost := self.cost_left()) is not None and not self.unpriced_calls:
            parts.append(f"${max(cost, 0.0):.2f}")
        if (seconds := self.seconds_left()) is not None:
            parts.append(f"{max(seconds, 0.0):,.0f} s")
        return ", ".join(parts) or "no limit"
