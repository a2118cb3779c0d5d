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


def next_window(
    watermark_ns: int | None,
    now_ns: int,
    *,
    length_s: float | None,
    overlap_s: float,
    longest_s: float,
    first_s: float = 86_400,
) -> Window:
    """Return the window a schedule takes next: from where its last published one ended, at most `longest_s` long.

    With a fixed `length_s` it is that long, whatever the watermark says. The first window is `first_s` long.
    """
    if length_s is not None:
        return Window(now_ns - int(length_s * SECOND), now_ns)
    if watermark_ns is None or watermark_ns > now_ns:  # never run, or the clock was set back
        return Window(now_ns - int(first_s * SECOND), now_ns)
    start = watermark_ns - int(overlap_s * SECOND)
    return Window(max(start, now_ns - int(longest_s * SECOND)), now_ns)
