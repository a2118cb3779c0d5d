"""Traces out of another store's API into this one, in chunks; a pull that was cut goes on where it stopped.

    pages ──▶ chunk ──▶ pulls/<key>.part/ ──state: these segments, this cursor──▶ incoming/ ──▶ segments/

The state is written between making a chunk's segments and moving them, so that whatever the moment of a kill, each
chunk is moved once: what the state names is moved on, what it does not name was not finished and is made again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson

from halo_receiver.files.part import FilePart, Gathering
from halo_receiver.store.lock import DirectoryLock
from halo_receiver.store.segment import is_sealed
from halo_worker import inputs
from halo_worker.errors import StoreError
from halo_worker.source import exports, langfuse, langsmith, phoenix
from halo_worker.source.remote import Api, Page, StoreUnavailable
from halo_worker.window import Window

STORES: dict[str, ModuleType] = {"langfuse": langfuse, "phoenix": phoenix, "langsmith": langsmith}
CHUNK_ITEMS = 10_000  # spans and evaluations that are made durable together
CHUNK_BYTES = 64 * 2**20


@dataclass(slots=True)
class State:
    """How far the last pull from one project of a store came."""

    since_ns: int
    until_ns: int
    cursor: dict[str, Any] | None = None
    spans: int = 0
    logs: int = 0
    moving: list[str] = field(default_factory=list)  # segments of `.part` on their way to `incoming/`
    done: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One pull, as it was asked for. `window` None: from where the last one ended."""

    store: str
    url: str
    project: str
    window: Window | None
    explicit: bool  # the window was given as times, not as a length back from now
    restart: bool = False
    arrival: inputs.Arrival = "now"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What is in the store of this window now, and what was wrong in words."""

    state: State
    problems: list[str]


def pull(
    asked: Asked,
    data_dir: Path,
    environment: Mapping[str, str],
    *,
    now_ns: int,
    say: Callable[[str], None],
    wait: Callable[[float], None] = time.sleep,
    step: inputs.Step = lambda _: None,
) -> Pulled:
    """Pull what the store holds of a window. Raises ConfigError, InputError or StoreUnavailable.

    After an error, what was pulled so far is in the store, and the next call goes on from there.
    """
    module = STORES[asked.store]
    home = data_dir / "pulls"
    home.mkdir(parents=True, exist_ok=True)
    key = f"{asked.store}-{blake2b(f'{asked.url} {asked.project}'.encode(), digest_size=4).hexdigest()}"

    def waiting(seconds: float, reason: str) -> None:
        say(f"{reason}: waiting {seconds:.0f} s")
        wait(seconds)

    with (
        DirectoryLock(home / f"{key}.lock", "halo pull"),
        Api(module.PLACE, asked.url, environment, wait=waiting) as api,
    ):
        one = _Pull(asked, data_dir, home / f"{key}.json", home / f"{key}.part", now_ns, say)
        one.finish_moving()
        try:
            state = one.begin()
            pages = module.pages(api, state.since_ns, state.until_ns, asked.project, state.cursor)
            for page in pages:
                one.take(page)
                step(f"{one.read:,} spans and scores so far")
            one.commit(done=True)
        except (StoreUnavailable, KeyboardInterrupt):
            one.commit()
            raise
        finally:
            inputs.hand_over(data_dir, say)
        return Pulled(one.state, one.problems)


class _Pull:
    def __init__(
        self, asked: Asked, data_dir: Path, file: Path, part: Path, now_ns: int, say: Callable[[str], None]
    ) -> None:
        self._asked, self._incoming, self._file, self._part = asked, data_dir / "incoming", file, part
        self._now_ns, self._say = now_ns, say
        self.state = _read_state(file) or State(0, 0, done=True)
        self.problems: list[str] = []
        self._gathering = Gathering(asked.store)
        self._parts: list[FilePart] = []
        self._items = self._bytes = 0
        self.read = 0  # by this process

    def begin(self) -> State:
        """Decide which window is pulled, and from where."""
        state, window = self.state, self._asked.window
        cut = not state.done and not self._asked.restart
        if cut and not (self._asked.explicit and window and window.start_ns != state.since_ns):
            self._say(f"going on with a pull that was cut after {state.spans:,} spans (--restart begins anew)")
            return state
        if window is None:
            start = state.until_ns if state.until_ns else self._now_ns - 86_400 * 10**9
            window = Window(min(start, self._now_ns), self._now_ns)
        self.state = State(window.start_ns, window.end_ns)
        return self.state

    def take(self, page: Page) -> None:
        """Add a page; make what was gathered durable when it is enough."""
        for item in page.items:
            exports.taken(item, self._asked.store, self._gathering)
        self._bytes += sum(_size(span.attributes) for span in self._gathering.decoded.spans)
        if part := self._gathering.take():
            self._parts.append(part)
            found = len(part.decoded.spans) + len(part.decoded.logs)
            self._items, self.read = self._items + found, self.read + found
        self.state.cursor = page.cursor
        if page.cursor and (self._items >= CHUNK_ITEMS or self._bytes >= CHUNK_BYTES):
            self.commit()

    def commit(self, *, done: bool = False) -> None:
        """Write the segments of a chunk, note them with the cursor, and move them."""
        shutil.rmtree(self._part, ignore_errors=True)
        now_ns = self._now_ns
        written = inputs.write_parts(self._parts, self._part, now_ns=now_ns, arrival=self._asked.arrival)
        self.problems += written.problems
        state = self.state
        state.spans, state.logs, state.done = state.spans + written.spans, state.logs + written.logs, done
        stamp = time.time_ns()  # of the names in incoming/: one for each chunk
        state.moving = []
        for path in written.segments:
            state.moving.append(path.rename(path.with_name(f"{stamp}-{path.name}")).name)
        self._save()
        self.finish_moving()
        self._parts, self._items, self._bytes = [], 0, 0

    def finish_moving(self) -> None:
        """Move the segments that the state names and that are still here."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for name in self.state.moving:
            if (self._part / name).exists():
                (self._part / name).rename(self._incoming / name)
        if self.state.moving:
            self.state.moving = []
            self._save()

    def _save(self) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self.state)), encoding="utf-8")
        fresh.replace(self._file)


def _size(attributes: dict[str, Any]) -> int:
    return sum(len(value) for value in attributes.values() if isinstance(value, str))


def _read_state(file: Path) -> State | None:
    try:
        state = State(**orjson.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise _unreadable(file, str(error)) from None
    counts = (state.since_ns, state.until_ns, state.spans, state.logs)
    if not all(type(number) is int for number in counts) or not isinstance(state.cursor, dict | None):
        raise _unreadable(file, "it is none of a pull")
    if not isinstance(state.moving, list) or not all(map(_is_segment, state.moving)):
        raise _unreadable(file, "it moves what is no segment")
    return state


def _is_segment(name: Any) -> bool:
    return isinstance(name, str) and is_sealed(name.lstrip("0123456789").removeprefix("-"))


def _unreadable(file: Path, why: str) -> StoreError:
    return StoreError(f"{file} cannot be read: {why}", hint="remove it: the next pull begins anew")
