"""SQL of strangers: one SELECT over the contract's tables, told by DuckDB's own parser.

A statement is taken apart into its syntax tree, and only what is on the lists below may stand in it. This makes
errors that teach; what it lets through runs on a connection that is locked as well (`Reader.lock_down`), in a process
whose memory and time are bounded (`halo_worker.analysis.questions`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from halo_receiver.errors import InputError
from halo_receiver.store.reader import Reader

MAX_SQL = 20_000  # characters
TABLES = frozenset({"spans", "traces", "logs"})
TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree"})
QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

# Functions that read or change something beside the rows, or that only wait.
FORBIDDEN_FUNCTIONS = frozenset(
    {
        "query", "query_table", "json_execute_serialized_sql", "current_setting", "getvariable", "getenv", "nextval",
        "currval", "setval", "sleep_ms", "write_log", "read_text", "read_blob", "current_query", "pg_sleep",
    }
)  # fmt: skip

_HINT = "the tables are spans, traces and logs; try: SELECT name, count(*) FROM spans GROUP BY ALL"


def check_select(reader: Reader, sql: str) -> str:
    """Return `sql` without its last semicolon. Raises InputError unless it is one SELECT of the contract's tables."""
    if len(sql) > MAX_SQL:
        raise InputError(f"the SQL has {len(sql)} characters, {MAX_SQL} are allowed", hint="ask less at once")
    try:
        statements = reader.connection.extract_statements(sql)
        if len(statements) != 1:
            raise InputError(f"the SQL holds {len(statements)} statements, one is expected", hint=_HINT)
        row = reader.connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchone()
    except duckdb.Error as error:
        raise InputError(f"the SQL does not parse: {' '.join(str(error).split())[:500]}") from None
    tree = json.loads(row[0] if row else "{}")
    if tree.get("error", True):
        raise InputError(f"only one SELECT is allowed: {tree.get('error_message', 'not a SELECT')}", hint=_HINT)
    nodes = list(_nodes(tree))
    known = TABLES | {name.lower() for node in nodes for name in _ctes(node)}
    for node in nodes:
        _check(node, known)
    # The line break ends a comment on the last line, which would swallow what is put after it.
    return str(statements[0].query).strip().rstrip(";").strip() + "\n"


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _ctes(node: dict[str, Any]) -> Iterator[str]:
    if isinstance(node.get("cte_map"), dict):
        yield from (str(item.get("key", "")) for item in node["cte_map"].get("map", []))
    if node.get("cte_name"):
        yield str(node["cte_name"])


def _check(node: dict[str, Any], known: frozenset[str] | set[str]) -> None:
    kind = str(node.get("type", ""))
    if "cte_map" in node and kind not in QUERY_NODES:
        raise InputError(f"{kind.removesuffix('_QUERY_NODE')} is not allowed: the data is read only", hint=_HINT)
    if kind == "BASE_TABLE":
        place = ".".join(part for part in (node.get("catalog_name"), node.get("schema_name")) if part)
        name = str(node.get("table_name", ""))
        if name.lower() not in known or place not in ("", "main", "memory", "memory.main"):
            raise InputError(f"there is no table {f'{place}.' if place else ''}{name}"[:200], hint=_HINT)
    if kind == "SHOW_REF" and not node.get("query"):
        raise InputError("SHOW is not allowed", hint="DESCRIBE spans names the columns")
    name = str(node.get("function_name", "")).lower()
    if name in FORBIDDEN_FUNCTIONS:
        raise InputError(f"the function {name} is not allowed", hint=_HINT)
    if kind == "TABLE_FUNCTION":
        called = str((node.get("function") or {}).get("function_name", "")).lower()
        if called not in TABLE_FUNCTIONS:
            raise InputError(f"the table function {called} is not allowed", hint=_HINT)
