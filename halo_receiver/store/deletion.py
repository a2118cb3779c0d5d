"""Which traces a deletion is about, and sealed segments written anew without them.

The holder of the writer's lock alone may delete. A segment takes the place of the one that it was made of, as in a
merge: whenever the process is killed, each segment is there once, with or without what is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from halo_receiver.errors import StoreError
from halo_receiver.store import manifest, merge
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed

# Attributes that say whose a span or record is, where no convention that we know does.
_KEYS = {"user": r"(?i)(^|[._])(end)?user([._](id|name|email))?$|email", "session": r"(?i)session|conversation|thread"}
_OWN = (
    "len(list_filter(range(1, len(attribute_keys) + 1), lambda i: attribute_values[i] = $value "
    "AND regexp_matches(attribute_keys[i], $keys))) > 0"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be deleted: all of a user, of a session, one trace, or what arrived before a time (unix ns)."""

    user: str | None = None
    session: str | None = None
    trace: str | None = None
    before_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The traces, and how many spans and records there are of them; `own_logs`: of records that belong to no trace."""

    traces: frozenset[str]
    spans: int = 0
    logs: int = 0
    own_logs: int = 0


def choose(data_dir: Path, selection: Selection, *, memory_limit: str, threads: int) -> Chosen:
    """Look for what is to be deleted in all sealed segments. Raises StoreError where one cannot be read."""
    with Reader.open(data_dir, memory_limit=memory_limit, threads=threads) as reader:
        if reader.set_aside:
            one = reader.set_aside[0]
            raise StoreError(
                f"segment {one.path.name} cannot be read, and may hold what is to be deleted: {one.reason}",
                hint="move it out of segments/, or delete it, and try again",
            )
        return chosen_in(reader, selection)


def chosen_in(reader: Reader, selection: Selection) -> Chosen:
    """Look for what is to be deleted in what a reader shows."""
    traces = frozenset(_traces(reader, selection))
    reader.connection.execute("CREATE TEMP TABLE gone AS SELECT unnest($1::VARCHAR[]) AS trace_id", [sorted(traces)])
    counted = reader.query(
        "SELECT (SELECT count(*) FROM _span_rows SEMI JOIN gone USING (trace_id)) AS spans, "
        "(SELECT count(*) FROM _log_rows SEMI JOIN gone USING (trace_id)) AS logs"
    )[0]
    condition, given = own_logs(selection)
    own = reader.query(f"SELECT count(*) AS n FROM _log_rows WHERE {condition}", given)[0]["n"]
    return Chosen(traces, counted["spans"], counted["logs"], own)


def _traces(reader: Reader, selection: Selection) -> set[str]:
    found: set[str] = set()
    if selection.trace is not None:
        found |= {
            row["trace_id"]
            for row in reader.query(
                "SELECT DISTINCT trace_id FROM _span_rows WHERE trace_id = $1 "
                "UNION SELECT DISTINCT trace_id FROM _log_rows WHERE trace_id = $1",
                [selection.trace],
            )
        }
    for kind, value in (("user", selection.user), ("session", selection.session)):
        if value is not None:
            rows = reader.query(f"SELECT DISTINCT trace_id FROM spans WHERE {kind}_id = $1", [value])
            given = {"value": json.dumps(value, ensure_ascii=False), "keys": _KEYS[kind]}
            rows += reader.query(
                f"SELECT DISTINCT trace_id FROM _span_rows WHERE {_OWN} UNION "
                f"SELECT DISTINCT trace_id FROM _log_rows WHERE trace_id IS NOT NULL AND {_OWN}",
                given,
            )
            found |= {row["trace_id"] for row in rows}
    if selection.before_ns is not None:
        rows = reader.query(
            "SELECT trace_id FROM (SELECT trace_id, received_at FROM _span_rows UNION ALL "
            "SELECT trace_id, received_at FROM _log_rows WHERE trace_id IS NOT NULL) "
            "GROUP BY trace_id HAVING epoch_ns(max(received_at)) < $1",
            [selection.before_ns],
        )
        found |= {row["trace_id"] for row in rows}
    return found


def own_logs(selection: Selection) -> tuple[str, dict[str, object]]:
    """Return the condition on records of no trace that are deleted as well."""
    conditions: list[str] = []
    given: dict[str, object] = {}
    for kind, value in (("user", selection.user), ("session", selection.session)):
        if value is not None:
            conditions.append(_OWN.replace("$value", f"${kind}").replace("$keys", f"${kind}_keys"))
            given |= {kind: json.dumps(value, ensure_ascii=False), f"{kind}_keys": _KEYS[kind]}
    if selection.before_ns is not None:
        conditions.append("epoch_ns(received_at) < $before")
        given["before"] = selection.before_ns
    return f"trace_id IS NULL AND ({' OR '.join(conditions) or 'false'})", given


def delete(directory: Path, selection: Selection, traces: Collection[str], *, memory_limit: str, threads: int) -> int:
    """Write every segment anew that holds anything of the traces; return how many. Called again, it goes on."""
    merge.finish_interrupted(directory)
    condition, given = own_logs(selection)
    done = 0
    for entry in manifest.load(directory, listed(directory)):
        writer = merge.open_work(
            directory, entry.name, mapping=entry.mapping, memory_limit=memory_limit, threads=threads
        )
        if not writer.take_without(directory / entry.name, sorted(traces), condition, given):
            writer.discard()
            continue
        if writer.spans or writer.logs:
            merge.publish(directory, writer.seal())
        else:
            writer.discard()
            (directory / entry.name).unlink()
        done += 1
    manifest.forget(directory)
    return done
