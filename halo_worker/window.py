"""`[start, end)` of arrival time, and when its traces have settled."""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open, in unix nanoseconds of arrival."""

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        if self.end_ns < self.start_ns:
            raise ValueError(f"the window ends ({self.end_ns}) before it starts ({self.start_ns})")

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / SECOND


def last(seconds: float, now_ns: int) -> Window:
    """The window of that length that ends now. The end is one past now, so that what arrived this instant is in it."""
    return Window(now_ns + 1 - int(seconds * SECOND), now_ns + 1)
