"""What reading a file yields, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from halo_receiver.decode.repair import MAX_ATTRIBUTE_BYTES, Repair
from halo_receiver.span import Decoded, Rejection

MAX_RECORD_BYTES = 512 * 2**20  # of one line, one JSON document or one protobuf message
PART_ITEMS = 2_000
PART_BYTES = 8 * 2**20


class NotATraceFile(Exception):  # noqa: N818 - reads as the sentence it is raised for
    """A file holds nothing that is a trace or a log."""


@dataclass(slots=True)
class FilePart:
    """A piece of one file, or what is to be said of it."""

    path: str
    decoded: Decoded = field(default_factory=Decoded)
    problems: list[str] = field(default_factory=list)


class Gathering:
    """A part in the making."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._start()

    def _start(self) -> None:
        self.repair = Repair(MAX_ATTRIBUTE_BYTES)
        self.problems: list[str] = []
        self.bytes = 0

    @property
    def decoded(self) -> Decoded:
        """Everything gathered since the last part."""
        return self.repair.decoded

    def refuse(self, line: int, reason: str) -> None:
        """Note a line, document or message that was not kept."""
        self.decoded.rejected.append(Rejection(line, reason))
        self.problems.append(f"{self.path}:{line}: {reason}")

    def full(self) -> bool:
        """Whether it is time to yield."""
        held = self.decoded
        items = len(held.spans) + len(held.logs) + len(held.rejected)
        return items >= PART_ITEMS or self.bytes >= PART_BYTES

    def take(self) -> FilePart | None:
        """Give the part and start anew; None when there is nothing in it."""
        decoded, problems = self.decoded, self.problems
        self._start()
        if decoded.spans or decoded.logs or decoded.rejected or problems:
            return FilePart(self.path, decoded, problems)
        return None
