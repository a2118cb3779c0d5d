"""What lies in the spool's directory: how much waits, since when, and what may be deleted."""

from __future__ import annotations

from pathlib import Path

from halo_receiver.spool import Position, file_name, file_numbers


def backlog(directory: Path, loaded: Position) -> int:
    """Return how many bytes lie in the spool after a position."""
    total = 0
    for number in file_numbers(directory):
        if number >= loaded.file:
            try:
                size = (directory / file_name(number)).stat().st_size
            except FileNotFoundError:
                continue
            total += size - (loaded.offset if number == loaded.file else 0)
    return max(0, total)


def drop_loaded(directory: Path, sealed: Position) -> int:
    """Delete the files that end before a position that is in a sealed segment; return how many."""
    dropped = 0
    for number in file_numbers(directory):
        if number < sealed.file:
            (directory / file_name(number)).unlink(missing_ok=True)
            dropped += 1
    return dropped


def last_written_ns(directory: Path) -> int:
    """Return when the spool was last written, by the clock of that time, in unix nanoseconds; 0 when it never was."""
    return max((_modified_ns(directory, number) for number in file_numbers(directory)), default=0)


def oldest_waiting_ns(directory: Path, loaded: Position) -> int | None:
    """Return when the oldest file with requests after a position was last written; None when nothing waits."""
    for number in file_numbers(directory):
        if number >= loaded.file:
            size = (directory / file_name(number)).stat().st_size
            if size > (loaded.offset if number == loaded.file else 0):
                return _modified_ns(directory, number)
    return None


def _modified_ns(directory: Path, number: int) -> int:
    try:
        return (directory / file_name(number)).stat().st_mtime_ns
    except FileNotFoundError:
        return 0
