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
PLACES = frozenset({(), ("main",), ("memory",), ("memory", "main")})  # where those tables are
QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"})

# Functions that read or change something beside the rows, or that only wait; and DuckDB's own macros that read its
# catalog (a test compares them with the catalog).
FORBIDDEN_FUNCTIONS = frozenset(
    {
        "query", "query_table", "json_execute_serialized_sql", "json_serialize_plan", "current_setting", "getvariable",
        "getenv", "nextval", "currval", "setval", "sleep_ms", "write_log", "read_text", "read_blob", "current_query",
        "pg_sleep", "pg_get_viewdef", "pg_get_constraintdef", "format_type", "get_block_size",
    }
)  # fmt: skip

_HINT = "the tables are spans, traces and logs; try: SELECT name, count(*) FROM spans GROUP BY ALL"


def check_select(reader: Reader, sql: str, *, more: frozenset[str] = frozenset()) -> str:
    """Return `sql` without its last semicolon. Raises InputError unless it is one SELECT of the contract's tables.

    `more`: names of other tables that it may read.
    """
    if len(sql) > MAX_SQL:
        raise InputError(f"the SQL has {len(sql)} characters, {MAX_SQL} are allowed", hint="ask less at once")
    try:
        statements = reader.connection.extract_statements(sql)
        if len(statements) != 1:
            raise InputError(f"the SQL holds {len(statements)} statements, one is expected", hint=_HINT)
        row = reader.connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchone()
    except duckdb.Error as error:
        raise InputError(f"the SQL does not parse: {' '.join(str(error).split())[:500]}") from error
    tree = json.loads(row[0] if row else "{}")
    if tree.get("error", True):
        raise InputError(f"only one SELECT is allowed: {tree.get('error_message', 'not a SELECT')}", hint=_HINT)
    for node, ctes in _scoped(tree):
        _check(node, ctes, TABLES | more)
    # The line break ends a comment on the last line, which would swallow what is put after it.
    return str(statements[0].query).strip().rstrip(";").strip() + "\n"


def _fold(name: Any) -> str:
    """Write a name as DuckDB compares it: ASCII letters alone have no case, so that 'K' (Kelvin) is no 'k'."""
    return "".join(character.lower() if character.isascii() else character for character in str(name))


def _scoped(tree: Any) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Yield every node of a statement with the names of the common table expressions that it can see.

    One of them sees those before it, the right side of a recursive one itself; a query sees its own and those of the
    queries around it. What stands beside a query sees none of its.
    """
    stack: list[tuple[Any, frozenset[str]]] = [(tree, frozenset())]
    while stack:
        item, scope = stack.pop()
        if isinstance(item, list):
            stack.extend((value, scope) for value in item)
        elif isinstance(item, dict):
            for cte in (item.get("cte_map") or {}).get("map") or ():
                stack.append((cte["value"], scope))
                scope |= {_fold(cte["key"])}
            yield item, scope
            itself = scope | {_fold(item["cte_name"])} if item.get("type") == "RECURSIVE_CTE_NODE" else scope
            stack.extend(
                (value, itself if name == "right" else scope) for name, value in item.items() if name != "cte_map"
            )


def _path(node: dict[str, Any]) -> tuple[str, ...]:
    """Return the folded name of a table with what stands before its points."""
    # DuckDB 2 names the whole path, of which its three older members are but parts.
    parts = (node.get("qualified_name") or {}).get("path")
    parts = parts or [node.get(name) for name in ("catalog_name", "schema_name", "table_name")]
    return tuple(_fold(part) for part in parts if part)


def _check_table(path: tuple[str, ...], ctes: frozenset[str], tables: frozenset[str]) -> None:
    *place, name = path or ("",)
    if name in tables and tuple(place) in PLACES:
        return
    if name in ctes and place in ([], ["recurring"]):  # DuckDB's word for all rows of a recursive one so far
        return
    raise InputError(f"there is no table {'.'.join(path)}"[:200], hint=_HINT)


def _check(node: dict[str, Any], ctes: frozenset[str], tables: frozenset[str]) -> None:
    kind = str(node.get("type", ""))
    if "cte_map" in node and kind not in QUERY_NODES:
        raise InputError(f"{kind.removesuffix('_QUERY_NODE')} is not allowed: the data is read only", hint=_HINT)
    if kind == "BASE_TABLE":
        _check_table(_path(node), ctes, tables)
    if kind == "SHOW_REF" and not node.get("query"):
        raise InputError("SHOW is not allowed", hint="DESCRIBE spans names the columns")
    name = _fold(node.get("function_name", ""))
    if name in FORBIDDEN_FUNCTIONS:
        raise InputError(f"the function {name} is not allowed", hint=_HINT)
    if kind == "TABLE_FUNCTION":
        called = _fold((node.get("function") or {}).get("function_name", ""))
        if called not in TABLE_FUNCTIONS:
            raise InputError(f"the table function {called} is not allowed", hint=_HINT)
