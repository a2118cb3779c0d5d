"""A window's sealed segments as one read-only view."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from halo_receiver.errors import StoreError
from halo_receiver.store import agents, copies, manifest, schema
from halo_receiver.store.attached import AttachedSegments, SetAside
from halo_receiver.store.scratch import Scratch
from halo_receiver.store.settling import Settle, look_back, traces_of
from halo_receiver.store.text_folding import unfolded

JUDGED_BEFORE_NS = 86_400_000_000_000  # how far back a trace is looked for that an earlier window has judged
RELIST_ATTEMPTS = 5
MAX_PUT_TOGETHER = 20_000  # traces that are put together when segments are opened, and not when they are asked for


class Reader:
    """Sealed segments, attached read-only, behind the views `spans`, `traces` and `logs` of the contract.

    A span that a client sent twice is shown once, as its most finished copy (`copies`), also when its copies lie in
    two segments; a trace that lies in several segments is one trace. `start_ns` and `end_ns` bound arrival. By default
    each span is judged alone; with `whole_traces` a trace of which any span arrived inside is shown with what arrived
    before, and with `settle` the traces are those that settled inside: consecutive windows then show each trace once,
    whole. What comes of a trace long after it settled must not bring it up again: `judged` are older segments, whose
    traces are passed over.
    `in_memory`: the tables of `scratch` are made in memory, for windows that are small; `keep`: in a file that stays.
    `only` is a condition on span rows (`queries.only`) that at least one span of a trace must meet. `around`: of spans,
    only one trace is asked for. `options` and `segments` open the same window again, in another process.
    """

    def __init__(
        self,
        segments: Sequence[Path],
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        whole_traces: bool = False,
        settle: Settle | None = None,
        judged: Sequence[Path] = (),
        only: str | None = None,
        around: str | None = None,
        memory_limit: str = "1GiB",
        threads: int = 2,
        in_memory: bool = False,
        keep: Path | None = None,
    ) -> None:
        self.options: dict[str, Any] = {
            "start_ns": start_ns, "end_ns": end_ns, "whole_traces": whole_traces, "settle": settle,
            "judged": tuple(judged), "only": only, "around": around,
        }  # fmt: skip
        self.start_ns = start_ns
        self.end_ns = end_ns
        self._settle = settle
        self._judged = judged
        self._only = only
        self._around = around
        self._whole = whole_traces or settle is not None or only is not None
        self._agents_resolved = self._locked = False
        # What does not fit into memory goes to a directory of its own, which DuckDB makes and removes; not to the
        # working directory, where a service may not write.
        spill = Path(tempfile.gettempdir()) / f"halo-spill-{secrets.token_hex(6)}"
        config: dict[str, Any] = {
            "memory_limit": memory_limit, "threads": threads, "temp_directory": str(spill),
            "python_enable_replacements": False,  # a table's name is never that of a variable of this process
        }  # fmt: skip
        self.connection = duckdb.connect(":memory:", config=config)
        self.scratch = Scratch(self.connection, in_memory=in_memory, keep=keep)
        self.connection.execute("SET TimeZone = 'UTC'")
        # On by default where Python has no script, as in a notebook: it would draw itself on stdout, into results.
        self.connection.execute("SET enable_progress_bar = false")
        self._attached = AttachedSegments(self.connection)
        for path in segments:
            self._attached.attach(path)
        self._views()

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        trace_id: str | None = None,
        service: str | None = None,
        beside: Sequence[Path] = (),
        **options: Any,
    ) -> Reader:
        """Open the sealed segments of a data directory that may hold spans that arrived in `[start_ns, end_ns)`.

        `trace_id` (whole) and `service` leave out segments that hold nothing of them; what else lies in the segments
        that are opened is shown as well. `beside` are further segments, of files, that are opened whatever they hold.
        """
        directory = data_dir / "segments"
        settle: Settle | None = options.get("settle")
        before_ns = look_back(settle, whole_traces=bool(options.get("whole_traces")))
        since = start_ns - before_ns if start_ns is not None else None
        for _ in range(RELIST_ATTEMPTS):
            # A merge may delete files between listing and opening them: what it made of them is then listed again.
            current, damaged = manifest.current(directory)
            wanted = [
                directory / entry.name
                for entry in current
                if entry.may_hold(since, end_ns, service=service, trace_id=trace_id)
            ]
            if settle is not None and since is not None:
                before = [
                    directory / entry.name for entry in current if entry.may_hold(since - JUDGED_BEFORE_NS, since)
                ]
                options["judged"] = [path for path in before if path not in wanted]
            reader = cls([*wanted, *damaged, *beside], start_ns=start_ns, end_ns=end_ns, **options)
            if all(item.path.exists() for item in reader.set_aside):
                return reader
            reader.close()
        raise StoreError(f"{directory} changes too fast to be read", hint="try again")

    @property
    def segments(self) -> list[Path]:
        """The segments that are attached, as `s0`, `s1`, …"""
        return self._attached.segments

    @property
    def set_aside(self) -> list[SetAside]:
        """The segments that could not be opened, and why."""
        return self._attached.set_aside

    def _bound(self) -> str:
        bounds = []
        if self._whole:
            bounds.append("trace_id IN (SELECT trace_id FROM memory.main._chosen)")
        elif self.start_ns is not None:
            bounds.append(f"received_at >= make_timestamp_ns({self.start_ns})")
        if self.end_ns is not None:
            bounds.append(f"received_at < make_timestamp_ns({self.end_ns})")
        return " AND ".join(bounds)

    def _choose(self) -> None:
        """Fill `_chosen` with the traces of the window, as `traces_of` says them."""
        arrivals = " UNION ALL ".join(copies.arrivals(self.connection, f"s{i}") for i in self._places)
        sql = traces_of(arrivals, self.start_ns, self.end_ns, self._settle)
        if self._only is not None:
            picked = " UNION ALL ".join(f"SELECT trace_id FROM s{i}.span_rows WHERE {self._only}" for i in self._places)
            sql = f"SELECT * FROM ({sql}) WHERE trace_id IN ({picked})"
        self.connection.execute(f"CREATE TABLE _chosen AS {sql}")
        for path in self._judged:
            self._pass_over(path)

    def _pass_over(self, path: Path) -> None:
        """Take the traces of an older segment out of the chosen ones."""
        quoted = str(path).replace("'", "''")
        try:
            self.connection.execute(f"ATTACH '{quoted}' AS earlier (READ_ONLY)")
            self.connection.execute("DELETE FROM _chosen WHERE trace_id IN (SELECT trace_id FROM earlier.trace_rows)")
        except duckdb.Error as error:
            self.set_aside.append(SetAside(path, str(error).splitlines()[0]))
        self.connection.execute("DETACH DATABASE IF EXISTS earlier")

    def _union(self, table: str, *, hidden: bool = False) -> str:
        parts = []
        for index in self._places:
            conditions = [self._bound(), self._near.get(index, "") if table == "span_rows" else ""]
            if hidden and index in self._with_copies:
                conditions.append(
                    "NOT EXISTS (SELECT 1 FROM memory.main._copies c WHERE c.segment = "
                    f"{index} AND c.trace_id = t.trace_id AND c.span_id = t.span_id)"
                )
            where = " AND ".join(filter(None, conditions)) or "true"
            parts.append(f"SELECT * FROM {self._attached.rows(index, table)} t WHERE {where}")
        return " UNION ALL ".join(parts)

    def _views(self) -> None:
        self._places = self._attached.places()
        self._near = {} if self._around is None else self._attached.near(self._around)
        if self._whole:
            self._choose()
        self._find_copies()
        with_facts = self._show(self._union("span_rows", hidden=True), self._union("log_rows"))
        self._view_traces(with_facts=with_facts)

    def _show(self, stored: str, logs: str) -> bool:
        """Define the views of spans and logs over two SELECTs of rows; return whether logs say more of spans."""
        execute = self.connection.execute
        execute(f"CREATE VIEW _span_rows AS {unfolded(f'({stored})')}")
        execute(f"CREATE VIEW _log_rows AS {logs}")
        with_facts = execute("SELECT 1 FROM _log_rows WHERE span_facts IS NOT NULL LIMIT 1").fetchone() is not None
        if with_facts:
            calls = f"({schema.calls_query('_span_rows', '_log_rows')})"
            execute(f"CREATE TABLE _facts AS {schema.facts_query('_log_rows', calls)}")
            execute(f"CREATE VIEW _own_spans AS {schema.spans_view('_span_rows', '_facts', lists=True)}")
        else:
            execute(f"CREATE VIEW _own_spans AS {schema.spans_view('_span_rows', lists=True)}")
        execute("CREATE VIEW _spans AS FROM _own_spans")
        execute(f"CREATE VIEW spans AS SELECT {', '.join(schema.SPAN_COLUMNS)} FROM _spans")
        execute(f"CREATE VIEW logs AS {schema.logs_view('_log_rows')}")
        execute("CREATE MACRO attr(attributes, key) AS json_extract_string(attributes, '$.\"' || key || '\"')")
        return with_facts

    def _find_copies(self) -> None:
        """Fill `_crossing` with the traces that lie in several segments, `_copies` with what of them came twice."""
        execute = self.connection.execute
        self._with_copies: set[int] = set()
        if len(self._places) == 1:
            execute("CREATE TABLE _crossing (trace_id VARCHAR)")
            return
        crossing = " UNION ALL ".join(f"SELECT DISTINCT trace_id FROM s{i}.trace_rows" for i in self._places)
        execute(f"CREATE TABLE _crossing AS SELECT trace_id FROM ({crossing}) GROUP BY trace_id HAVING count(*) > 1")
        # A window shows a span as it was known when the window ended.
        known = f"received_at < make_timestamp_ns({self.end_ns})" if self.end_ns is not None else "true"
        among = f"{known} AND trace_id IN (SELECT trace_id FROM memory.main._crossing)"
        replaced = copies.superseded({i: f"s{i}.span_rows" for i in self._places}, among)
        execute(f"CREATE TABLE _copies AS SELECT source AS segment, trace_id, span_id FROM ({replaced})")
        self._with_copies.update(row[0] for row in execute("SELECT DISTINCT segment FROM _copies").fetchall())

    def _view_traces(self, *, with_facts: bool) -> None:
        """Show the rows that each segment keeps of its traces: an overview of millions of spans reads only those.

        Of traces that lie in several segments they are parts, and of traces that logs say more of they are not all:
        such traces are put together here, once where they are few.
        """
        execute = self.connection.execute
        columns = ", ".join(schema.TRACE_COLUMNS)
        if self._bound():
            execute(f"CREATE VIEW traces AS SELECT {columns} FROM ({schema.rollup_query('_own_spans')})")
            return
        if with_facts:
            execute(
                "INSERT INTO _crossing SELECT DISTINCT fact_trace_id FROM _facts f "
                "WHERE NOT EXISTS (SELECT 1 FROM _crossing c WHERE c.trace_id = f.fact_trace_id)"
            )
        kept = " UNION ALL ".join(f"SELECT {columns} FROM {self._attached.rows(i, 'trace_rows')}" for i in self._places)
        [parted] = execute("SELECT count(*) FROM _crossing").fetchone() or [0]
        if not parted:
            execute(f"CREATE VIEW traces AS {kept}")
            return
        spans = "(SELECT * FROM _own_spans WHERE trace_id IN (SELECT trace_id FROM memory.main._crossing))"
        kind = "TABLE" if parted <= MAX_PUT_TOGETHER else "VIEW"
        execute(f"CREATE {kind} _crossing_traces AS SELECT {columns} FROM ({schema.rollup_query(spans)})")
        execute(
            f"CREATE VIEW traces AS SELECT * FROM ({kept}) t WHERE NOT EXISTS "
            "(SELECT 1 FROM memory.main._crossing c WHERE c.trace_id = t.trace_id) "
            "UNION ALL FROM memory.main._crossing_traces"
        )

    def resolve_agents(self, sql: str | None = None) -> None:
        """Make `agent_name` of the view `spans` say which agent a span belongs to (`agents`), from now on.

        It is left until somebody asks, for it takes a pass over the window. With `sql`, only if that reads it.
        """
        if self._agents_resolved or (sql is not None and not agents.reads_agent(self.connection, sql)):
            return
        inherited = agents.inherited_query("_own_spans")
        if self._has("_agents"):
            pass  # made by the parts of the window
        elif self._locked:  # no file may be attached any more
            self.connection.execute(f"CREATE OR REPLACE TABLE memory.main._agents AS {inherited}")
        else:
            self.scratch.table("_agents", inherited)
        shown = agents.belonging_query("_own_spans", (*schema.SPAN_COLUMNS, *schema.LISTS), "_agents")
        self.connection.execute(f"CREATE OR REPLACE VIEW memory.main._spans AS {shown}")
        self._agents_resolved = True

    def _has(self, name: str) -> bool:
        sql = "SELECT 1 FROM information_schema.tables WHERE table_name = $1"
        return self.connection.execute(sql, [name]).fetchone() is not None

    def query(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[dict[str, Any]]:
        """Run one statement and return its rows as dicts."""
        self.resolve_agents(sql)
        cursor = self.connection.execute(sql, parameters or None)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def lock_down(self) -> None:
        """Close every way out of the connection: no files, no network, no settings. There is no way back."""
        self.connection.execute("SET enable_external_access = false")
        self.connection.execute("SET lock_configuration = true")
        self._locked = True

    def close(self) -> None:
        """Let go of the segments."""
        self.connection.close()
        self.scratch.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
