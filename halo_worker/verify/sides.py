"""Both sides of a change as one open window, and of each trace on which side it is.

One window for both: what a detector compares with the rest of its window (outliers, what is usual, likeness of
errors) is then the same for both. A trace is on the side in which its first span arrived; one that crosses the time of
a change is on none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halo_receiver.store import manifest, queries
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed
from halo_worker import freshness, inputs
from halo_worker.config import Settings
from halo_worker.display import named
from halo_worker.errors import InputError
from halo_worker.report.formats import minute
from halo_worker.verify.plan import BEFORE_NS, RELEASE_KEY, Plan, span
from halo_worker.window import Window

MAX_RELEASES_NAMED = 5
CROSSING_NS = (
    3_600_000_000_000  # a trace that began in the hour before a change may arrive after it, and ran the old code
)


@dataclass(frozen=True, slots=True)
class Filters:
    """Whose traces are compared: those of the schedule that follows the issue."""

    services: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sides:
    """An open window with the table `_sides` (trace_id, after, began_ns), and both sides in words.

    `split_ns`: where before ends at the latest. `before_given`: a person named its bounds, so that it is not shortened
    to the time since an issue was first seen. `held`: the arrival times of which anything is stored.
    """

    reader: Reader
    plan: Plan
    before: str
    after: str
    start_ns: int
    split_ns: int
    before_given: bool
    held: Window | None
    problems: tuple[str, ...]
    newest: str = ""  # release that was sent, where the one that is meant is still to come


@contextmanager
def opened(current: Settings, plan: Plan, filters: Filters, now_ns: int) -> Iterator[Sides]:
    """Open both sides. Raises InputError where there is no store, or no trace of the release."""
    data_dir = current.store.data_dir
    problems = freshness.refresh(current, load=True).problems if data_dir.is_dir() else []
    with tempfile.TemporaryDirectory(prefix="halo-") as folder:
        files: list[Path] = []
        if plan.files:
            read = inputs.write_segments(plan.files, Path(folder), now_ns=now_ns, arrival="now")
            files, problems = read.segments, [*problems, *read.problems]
        make = _by_release if plan.key else _by_time
        with make(current, plan, filters, now_ns, files) as sides:
            problems += [
                f"segment {item.path.name} could not be read: {item.reason}" for item in sides.reader.set_aside
            ]
            yield Sides(**{name: getattr(sides, name) for name in Sides.__slots__} | {"problems": tuple(problems)})


@contextmanager
def _by_time(current: Settings, plan: Plan, filters: Filters, now_ns: int, files: Sequence[Path]) -> Iterator[Sides]:
    after = Window(now_ns, now_ns + 1) if files else plan.after
    assert after is not None
    before = plan.before or Window(max(0, after.start_ns - BEFORE_NS), after.start_ns)
    arrived = " OR ".join(_within(window) for window in (before, after))
    condition = queries.only(services=filters.services, agents=filters.agents)
    wanted = f"({arrived})" + (f" AND ({condition}{f' OR {_within(after)}' if files else ''})" if condition else "")
    bounds = Window(min(before.start_ns, after.start_ns), max(before.end_ns, after.end_ns))
    crosses = f"began_ns >= {after.start_ns - CROSSING_NS} AND began_ns < {after.start_ns}"
    settled = f"NOT coalesce({crosses}, false)" if plan.open_end else "true"
    with _reader(current, bounds, wanted, files) as reader:
        reader.connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE _sides AS
            SELECT trace_id, came >= {after.start_ns} AND came < {after.end_ns} AND {settled} AS after, began_ns
            FROM ({_ARRIVED}) WHERE (came >= {before.start_ns} AND came < {before.end_ns}) OR after
        """)
        if files:
            _of_files(reader, files)
        said = f"traces of {_files(plan.files)}" if files else f"arrived {span(after)}"
        yield Sides(
            reader, plan, f"arrived {span(before)}", said, before.start_ns, before.end_ns, plan.before is not None,
            _held(current), (),
        )  # fmt: skip


_ARRIVED = (
    "SELECT trace_id, epoch_ns(min(received_at)) AS came, epoch_ns(min(start_time)) AS began_ns "
    "FROM _spans GROUP BY trace_id"
)


def _of_files(reader: Reader, files: Sequence[Path]) -> None:
    """Put the traces of files on the side after, also where the store has them too."""
    places = [reader.segments.index(path) for path in files if path in reader.segments]
    ids = " UNION ".join(f"SELECT trace_id FROM s{place}.trace_rows" for place in places)
    reader.connection.execute(f"UPDATE _sides SET after = true WHERE trace_id IN ({ids})")


def _files(paths: Sequence[str]) -> str:
    shown = ", ".join(named(Path(path).name) for path in paths[:3])
    return f"{shown} and {len(paths) - 3} more" if len(paths) > 3 else shown


def _within(window: Window) -> str:
    return f"(received_at >= make_timestamp_ns({window.start_ns}) AND received_at < make_timestamp_ns({window.end_ns}))"


@contextmanager
def _by_release(current: Settings, plan: Plan, filters: Filters, now_ns: int, _: Sequence[Path]) -> Iterator[Sides]:
    first, newest = _first_of_release(current, plan)
    start = first - BEFORE_NS if first is not None else (plan.decided_ns or now_ns) - BEFORE_NS
    bounds = Window(max(0, min(start, plan.before.start_ns) if plan.before else start), now_ns + 1)
    condition = queries.only(services=filters.services, agents=filters.agents)
    with _reader(current, bounds, condition or "true", ()) as reader:
        _sort_by_release(reader, plan, max(0, start))
        what = f"{plan.key} {named(plan.value)}" + (" or later" if plan.later else "")
        before = f"arrived {span(plan.before)}, before {what}" if plan.before else f"releases before {what}"
        split = first if first is not None else now_ns
        yield Sides(
            reader, plan, before, what, bounds.start_ns, split, plan.before is not None, _held(current), (), newest
        )  # fmt: skip


_VALUES = """
  SELECT trace_id, coalesce(service_name, '') AS service,
    coalesce(json_extract_string(resource_attributes, $1),
      attribute_values[list_position(attribute_keys, $2)]->>'$', '') AS value,
    epoch_ns(min(start_time)) AS first, epoch_ns(min(received_at)) AS came
  FROM _spans GROUP BY ALL
"""


def _keys(plan: Plan) -> list[str]:
    assert plan.key is not None
    return [f'$."{plan.key}"', plan.key]


def _first_of_release(current: Settings, plan: Plan) -> tuple[int | None, str]:
    """Return when the first span of the release started. Raises InputError when nobody sent it.

    None for a release that a decision named and that is still to come; then with the newest that was sent.
    """
    with Reader.open(data_dir(current), **_options(current)) as reader:
        rows = reader.query(
            f"SELECT value, min(first) AS first FROM ({_VALUES}) WHERE value <> '' GROUP BY value ORDER BY first DESC",
            _keys(plan),
        )
    known = {row["value"]: int(row["first"] or 0) for row in rows}
    if plan.value in known:
        return known[plan.value], ""
    if plan.open_end:
        return None, next(iter(known), "")
    sent = ", ".join(named(value) for value in list(known)[:MAX_RELEASES_NAMED])
    what = f"release {named(plan.value)}" if plan.key == RELEASE_KEY else f"{plan.key} = {named(plan.value)}"
    raise InputError(
        f"nobody sent {what}: no stored span has it",
        hint=f"the newest are: {sent}" if sent else f"no stored span has {plan.key}; --since T compares by time",
    )


def _sort_by_release(reader: Reader, plan: Plan, start_ns: int) -> None:
    """Fill `_sides`: after, what ran the release; before, what ran an earlier one of the same services.

    A span without the attribute is of an earlier release when it started before the first that has this one.
    """
    execute = reader.connection.execute
    execute(f"CREATE OR REPLACE TEMP TABLE _values AS {_VALUES}", _keys(plan))
    execute(
        """
        CREATE OR REPLACE TEMP TABLE _ran AS
        WITH firsts AS (SELECT service, value, min(first) AS first FROM _values GROUP BY ALL),
        named AS (SELECT service, first FROM firsts WHERE value = $1)
        SELECT f.service, f.value,
          f.value = $1 OR ($2 AND f.value <> '' AND f.first > coalesce(n.first, $3)) AS after,
          n.first IS NULL OR f.first < n.first AS before
        FROM firsts f LEFT JOIN named n USING (service)
        WHERE n.service IS NOT NULL OR NOT EXISTS (FROM named)
        """,
        [plan.value, plan.later, plan.decided_ns],
    )
    given = plan.before
    bound = (
        f"came >= {given.start_ns} AND came < {given.end_ns}" if given else f"coalesce(began_ns >= {start_ns}, true)"
    )
    execute(f"""
        CREATE OR REPLACE TEMP TABLE _sides AS
        SELECT trace_id, bool_or(after) AS after, min(first) AS began_ns
        FROM (SELECT *, min(first) OVER (PARTITION BY trace_id) AS began_ns FROM _values)
        JOIN _ran USING (service, value)
        GROUP BY trace_id HAVING bool_or(after) OR (bool_or(before) AND bool_and({bound}))
    """)


def _options(current: Settings) -> dict[str, Any]:
    return {"memory_limit": f"{current.analysis.memory_limit_bytes}B", "threads": current.store.threads}


def data_dir(current: Settings) -> Path:
    """Return the data directory. Raises InputError where there is none."""
    if not current.store.data_dir.is_dir():
        raise InputError(
            f"there is no data directory {current.store.data_dir}",
            hint="'halo up' or 'halo import' make one; --data-dir names another",
        )
    return current.store.data_dir


def _reader(current: Settings, bounds: Window, only: str, beside: Sequence[Path]) -> Reader:
    return Reader.open(
        data_dir(current), start_ns=bounds.start_ns, end_ns=bounds.end_ns, whole_traces=True, only=only,
        beside=beside, **_options(current),
    )  # fmt: skip


def _held(current: Settings) -> Window | None:
    """Return the arrival times of which anything is stored; None of an empty store."""
    directory = current.store.data_dir / "segments"
    entries = [entry for entry in manifest.load(directory, listed(directory)) if entry.last_received_ns]
    if not entries:
        return None
    return Window(
        min(entry.first_received_ns for entry in entries), max(entry.last_received_ns for entry in entries) + 1
    )


def stored(held: Window | None) -> str:
    """Say of what time traces are stored."""
    return (
        f"stored are traces of {minute(held.start_ns)} to {minute(held.end_ns)} UTC" if held else "the store is empty"
    )
