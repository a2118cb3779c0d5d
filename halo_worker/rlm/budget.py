"""One ledger a run: turns, model calls, tokens, dollars, seconds, depth, parallel calls.

Reserve before every call, reconcile after; children draw from the same ledger and retries count. Whatever a model or
a provider does, spending never passes a limit by more than the calls that were in flight when it was reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from halo_worker.rlm.model import Usage

Stop = Literal["turns", "tokens", "cost", "seconds", "error", "interrupted"]


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """What one run may spend; None means no limit. Defaults as HALO 0.3.5, and what it lacks."""

    turns: int = 20  # of the root agent; a child has as many of its own at most
    depth: int = 2
    parallel: int = 10  # for each depth
    tokens: int | None = 2_000_000
    cost_usd: float | None = 5.0
    seconds: float | None = 1800.0


class Ledger:
    """What a run has spent and what is left. One per run, shared by every agent of it."""

    def __init__(self, limits: BudgetLimits) -> None:
        self.limits = limits
        self.usage = Usage()
        self.model_calls = 0  # attempts, retries included
        self.turns = 0  # of the root agent
        self.stopped: Stop | None = None  # the first limit that was reached
        self.reason = ""

    @property
    def seconds(self) -> float:
        """Wall time since the run began."""
        raise NotImplementedError

    def left(self) -> str:
        """Say in a line what is left, for a model and for a person."""
        raise NotImplementedError
