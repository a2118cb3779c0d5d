"""Pages of a list: which one is asked for, and links to those beside it that keep the filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import urlencode

from aiohttp import web

Item = TypeVar("Item")

MAX_PAGE = 100_000


@dataclass(frozen=True, slots=True)
class Paging:
    """`page` counts from 1."""

    path: str
    query: Mapping[str, str]
    page: int
    size: int
    total: int = 0

    @classmethod
    def of(cls, request: web.Request, size: int) -> Paging:
        """Read which page an address asks for."""
        asked = request.query.get("page", "1")
        page = int(asked) if asked.isascii() and asked.isdigit() and 0 < len(asked) < 7 else 1
        return cls(request.path, dict(request.query), max(1, min(MAX_PAGE, page)), size)

    def cut(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of this page."""
        return list(items[(self.page - 1) * self.size : self.page * self.size])

    def over(self, total: int) -> Paging:
        """Return it with the number of all items."""
        return replace(self, total=total)

    @property
    def pages(self) -> int:
        """How many there are."""
        return max(1, -(-self.total // self.size))

    @property
    def newer(self) -> str | None:
        """The address of the page before; None on the first."""
        return self.at(self.page - 1) if self.page > 1 else None

    @property
    def older(self) -> str | None:
        """The address of the page after; None on the last."""
        return self.at(self.page + 1) if self.page < self.pages else None

    def at(self, page: int) -> str:
        """Return the address of a page."""
        kept = {name: value for name, value in self.query.items() if name != "page"}
        words = urlencode({**kept, "page": page} if page > 1 else kept)
        return f"{self.path}?{words}" if words else self.path
