"""`halo trace` and `halo query`: look at the data, read only."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from halo_receiver.store import queries
from halo_receiver.store.guard import check_select
from halo_receiver.store.reader import Reader
from halo_worker.cli.common import (
    bounds,
    everywhere,
    human_duration,
    open_lake,
    open_reader,
    print_rows,
    settings,
    window_of,
)
from halo_worker.cli.console import talk
from halo_worker.config import Settings
from halo_worker.display import one_line
from halo_worker.errors import InputError, LakeUnavailable

WHOLE_ID = re.compile(r"[0-9a-fA-F]{32}")
TEXT_CHARACTERS = 100  # of a span's text in the tree
NAME_CHARACTERS = 80  # of its name, and of the model, the tool and the agent
ID_CHARACTERS = 64  # longer ones are of imported files
LINE = 4000  # characters where no terminal says how many: a line is never wrapped
INDENT = 4  # characters a level of the tree takes
LABEL_CHARACTERS = 40  # of a line that are kept for the span itself
MAX_LEVELS = 100  # drawn by indent


@click.command("query")
@click.argument("sql", required=False)
@click.option(
    "-f", "--file", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Read the SQL from it."
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", show_default=True
)
@click.option("--lake", is_flag=True, help="Ask the lake: all hosts, by when their spans were published.")
@bounds("all")
@everywhere
def query_command(
    sql: str | None, file: Path | None, form: str, lake: bool, last_: str | None, since: str | None, until: str | None,
    data_dir: Path | None, config: Path | None,
) -> None:  # fmt: skip
    """Run one SELECT over spans, traces and logs ('-' reads it from stdin).

    \b
    halo query "SELECT count(*) FROM spans"
    halo query "SELECT model, sum(input_tokens) FROM spans WHERE span_type = 'llm' GROUP BY ALL"
    halo query "DESCRIBE spans"
    halo query -f slow.sql --format csv
    halo query --lake --last 1h "SELECT service_name, count(*) FROM spans GROUP BY 1"
    """
    if (sql is None) == (file is None):
        raise InputError("give one SELECT, or -f FILE", hint="'halo query \"DESCRIBE spans\"' names the columns")
    text = _read(file) if file is not None else sys.stdin.read() if sql == "-" else sql or ""
    current = settings(data_dir, config)
    window = window_of(last_, since, until, now_ns=time.time_ns(), default=None)
    with open_lake(current, window) if lake else open_reader(current, window) as reader:
        if lake:  # its files are read while the SQL runs, so that only its words can be looked at
            text = check_select(reader, text)
        else:
            reader.lock_down()
        columns, rows = queries.json_rows(reader, text)
    print_rows(rows, form, columns=columns)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None


@click.command("trace")
@click.argument("trace_id", metavar="ID|last")
@click.option("--format", "form", type=click.Choice(["tree", "json", "jsonl"]), default="tree", show_default=True)
@click.option("--text/--no-text", default=True, show_default=True, help="Show the beginning of inputs and outputs.")
@everywhere
def trace_command(trace_id: str, form: str, text: bool, data_dir: Path | None, config: Path | None) -> None:
    """Show one trace as a tree with durations, types, tokens and errors.

    A unique beginning of its id is enough; 'last' is the trace that started last. A whole id is looked for in the lake,
    too, where there is one.
    """
    current = settings(data_dir, config)
    rows = _spans_of(current, trace_id)
    if form != "tree":
        print_rows(rows, form)
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LINE)
    levels = max(1, min(MAX_LEVELS, (console.width - LABEL_CHARACTERS) // INDENT))
    console.print(_tree(rows, show_text=text, levels=levels))


def _spans_of(current: Settings, trace_id: str) -> list[dict[str, Any]]:
    # The manifest knows which segments may hold a whole id, and the lake which files; of a beginning neither knows.
    whole = trace_id.lower() if WHOLE_ID.fullmatch(trace_id) else None
    if whole is None or not current.lake.on:
        with open_reader(current, None, trace_id=whole) as reader:
            return queries.trace_spans(reader, trace_id)
    found: dict[str, dict[str, Any]] = {}
    openers: tuple[Callable[[], Reader], ...] = (
        lambda: open_lake(current, None, trace_id=whole),
        lambda: open_reader(current, None, trace_id=whole),
    )
    for opened in openers:
        try:
            with opened() as reader:
                found |= {row["span_id"]: row for row in queries.trace_spans(reader, whole)}
        except LakeUnavailable as error:
            talk(f"warning: {error}")
        except InputError:  # it is not there
            continue
    if not found:
        raise InputError(f"there is no trace {trace_id}", hint="'halo traces' lists the traces of this host")
    return sorted(found.values(), key=lambda row: (row["start_time"] or "", row["span_id"]))


def _tree(rows: list[dict[str, Any]], *, show_text: bool, levels: int) -> Tree:
    """Draw every span once: below its parent, or as a root where that is not here, or is below the span itself.

    Spans that lie deeper than `levels` are drawn at that level, with their own: a line has room for so much indent.
    """
    ids = {row["span_id"] for row in rows}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for row in rows:
        parent = row["parent_span_id"] if row["parent_span_id"] in ids else None
        children.setdefault(parent, []).append(row)
    first = rows[0]
    root = Tree(
        Text(f"trace {one_line(first['trace_id'], ID_CHARACTERS)}  {(first['start_time'] or '')[:19]}Z", style="bold")
    )
    shown: set[str] = set()
    # Roots, and then whatever no root leads to: the first span of each circle of parents.
    for begin in (*children.get(None, ()), *rows):
        todo = [(root, 1, begin)]
        while todo:
            branch, level, row = todo.pop()
            if row["span_id"] in shown:
                continue
            shown.add(row["span_id"])
            node = branch.add(
                _label(row, note=_note(row, ids, too_deep=level > levels, level=level, begins=row is begin))
            )
            if show_text:
                _add_texts(node, row)
            below = node if level < levels else branch
            todo.extend((below, level + 1, child) for child in reversed(children.get(row["span_id"], [])))
    return root


def _note(row: dict[str, Any], ids: set[str], *, level: int, too_deep: bool, begins: bool) -> str:
    """Say why a span does not lie below its parent, if it does not."""
    parent = row["parent_span_id"]
    if parent and parent not in ids:
        return f"(parent {one_line(parent, ID_CHARACTERS)} is not here)"
    if parent and begins:
        return f"(its parents form a circle: parent {one_line(parent, ID_CHARACTERS)})"
    return f"(level {level}, parent {one_line(parent, ID_CHARACTERS)})" if too_deep else ""


def _label(row: dict[str, Any], *, note: str) -> Text:
    label = Text()
    label.append(f"{row['span_type'] or row['kind'].lower()} ", style="cyan")
    label.append(one_line(row["name"], NAME_CHARACTERS), style="bold")
    label.append(f"  {human_duration(row['duration_ns'])}", style="green")
    facts = [row["model"], row["tool_name"] if row["span_type"] == "tool" else None, row["agent_name"]]
    label.append("".join(f"  {one_line(fact, NAME_CHARACTERS)}" for fact in facts if fact and fact not in row["name"]))
    if row["input_tokens"] is not None or row["output_tokens"] is not None:
        label.append(f"  {row['input_tokens'] or 0}→{row['output_tokens'] or 0} tokens", style="magenta")
    if row["cost_usd"] is not None:
        label.append(f"  ${row['cost_usd']:.4f}{'~' if row['cost_estimated'] else ''}", style="magenta")
    if row["finish_reason"] not in (None, "stop", "tool_calls"):
        label.append(f"  finish={row['finish_reason']}", style="yellow")
    if row["status_code"] == "ERROR" or row["error_message"]:
        reason = row["error_message"] or row["status_message"] or row["error_type"] or "ERROR"
        label.append(f"  ✗ {_short(reason)}", style="bold red")
    if note:
        label.append(f"  {note}", style="dim")
    label.append(f"  {one_line(row['span_id'], ID_CHARACTERS)}", style="dim")
    return label


def _add_texts(node: Tree, row: dict[str, Any]) -> None:
    for arrow, field in (("→", "input_text"), ("←", "output_text")):
        if row[field]:
            node.add(Text(f"{arrow} {_short(row[field])}", style="dim"))
    calls = [call for message in row["output_messages"] or [] for call in message.get("tool_calls") or []]
    for call in calls:
        arguments = call.get("arguments")
        arguments = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        node.add(Text(f"↳ calls {_short(call.get('name'))}({_short(arguments)})", style="dim"))


def _short(text: object) -> str:
    return one_line(str(text), TEXT_CHARACTERS)
