"""The process that answers: `python -m halo_worker.analysis.questions.process`, driven by frames on stdin and stdout.

It opens the same window as its parent, locks its connection down, and then has no files, no network and no settings;
its environment holds no key. Memory is bounded by the operating system, for DuckDB counts only its buffers: a hundred
strings of 200 MB each cost it nothing. A statement that outlives its time is interrupted, and if that does not
help, the process ends itself.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from halo_receiver.store import guard, queries
from halo_receiver.store.reader import Reader
from halo_receiver.store.settling import Settle
from halo_worker.analysis import same_call
from halo_worker.errors import HaloError

LENGTH = struct.Struct(">I")
GRACE_SECONDS = 3.0  # after the interrupt, before the process ends itself
SAID = 2000  # characters of an error
ROW_BYTES = 64 * 2**20  # what is kept of one answer, whatever was asked for


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """Read one message; None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    document: dict[str, Any] = orjson.loads(stream.read(LENGTH.unpack(head)[0]))
    return document


def write_frame(stream: BinaryIO, document: dict[str, Any]) -> None:
    """Write one message."""
    text = orjson.dumps(document)
    stream.write(LENGTH.pack(len(text)) + text)
    stream.flush()


def limit_memory(size: int) -> None:
    """Bound the address space of this process, where the operating system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        return


def open_window(recipe: dict[str, Any]) -> Reader:
    """Open the window that the parent has open, make the tables that questions share, and lock the connection."""
    limit_memory(recipe["address_space"])
    options = dict(recipe["options"])
    if options.get("settle"):
        options["settle"] = Settle(**options["settle"])
    reader = Reader([Path(path) for path in recipe["segments"]], **options)
    if reader.set_aside:
        raise HaloError(f"{reader.set_aside[0].path.name}: {reader.set_aside[0].reason}")
    execute = reader.connection.execute
    execute(f"SET max_temp_directory_size = '{recipe['temp_bytes']}B'")
    execute(f"SET temp_directory = '{recipe['temp_dir'].replace(chr(39), chr(39) * 2)}'")
    # Made once: `traces` of the contract, and the calls of tools, without a scan of the spans at each question.
    execute("CREATE TABLE _t AS SELECT * FROM traces ORDER BY start_time, trace_id")
    execute("CREATE OR REPLACE VIEW traces AS SELECT * FROM _t")
    reader.resolve_agents()  # now, for a question has less time than opening
    execute(f"CREATE TABLE _tool_calls AS {same_call.CALLS}")
    for statement in recipe.get("prepare", ()):
        execute(statement)
    reader.lock_down()
    return reader


def answer(reader: Reader, request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request: `sql` as it stands, or, `guarded`, put into `within` once it is known to be one SELECT."""
    text = request["sql"]
    if request.get("guarded"):
        text = guard.check_select(reader, text, more=frozenset(request.get("tables") or ()))
        # Named first, so that an error speaks of the statement and not of what is put around it.
        columns = [row["column_name"] for row in reader.query(f"DESCRIBE FROM ({text})")]
        missing = [name for name in request.get("needs", ()) if name not in columns]
        if missing:
            return {"error": f"the SQL names no {' and no '.join(missing)}", "hint": "select trace_id and span_id"}
        if request.get("within"):
            text = request["within"].replace("{sql}", text)
    columns, rows, more = queries.bounded_rows(
        reader,
        text,
        request.get("parameters") or None,
        max_rows=request["max_rows"],
        max_bytes=min(request["max_bytes"], ROW_BYTES),
    )
    reply: dict[str, Any] = {"columns": columns, "rows": rows, "more": more}
    if more and request.get("count"):
        reply["total"] = reader.query(f"SELECT count(*) AS n FROM ({text})", request.get("parameters") or ())[0]["n"]
    return reply


def add_table(reader: Reader, table: dict[str, Any]) -> dict[str, Any]:
    """Make a table of ours from its columns, text all of them, or put it in the place of an earlier one."""
    names = ", ".join(f"{name} VARCHAR" for name in table["columns"])
    reader.connection.execute(f"CREATE OR REPLACE TABLE {table['name']} ({names})")
    if table["values"] and table["values"][0]:
        columns = ", ".join(f"unnest(${number}::VARCHAR[])" for number in range(1, len(table["columns"]) + 1))
        reader.connection.execute(f"INSERT INTO {table['name']} SELECT {columns}", table["values"])
    return {"columns": [], "rows": [], "more": False}


def said(error: BaseException | None) -> str:
    """Return an error as DuckDB wrote it, with the line it is about."""
    return str(error)[:SAID] if error is not None else ""


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer until the parent closes its end."""
    recipe = read_frame(requests)
    if recipe is None:
        return
    try:
        reader = open_window(recipe)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent says it
        write_frame(replies, {"error": f"the window cannot be opened: {error}", "fatal": True})
        return
    write_frame(replies, {"opened": len(reader.segments)})
    while (request := read_frame(requests)) is not None:
        seconds = request["seconds"]
        interrupt = threading.Timer(seconds, reader.connection.interrupt)
        # Some expressions cannot be interrupted. Nothing here is worth saving.
        end = threading.Timer(seconds + GRACE_SECONDS, os._exit, args=[3])
        for timer in (interrupt, end):
            timer.daemon = True
            timer.start()
        try:
            table = request.get("table")
            reply = add_table(reader, table) if table else answer(reader, request)
        except HaloError as error:
            late = "INTERRUPT" in str(error)
            reply = {"error": str(error), "hint": error.hint, "late": late, "said": said(error.__cause__)}
        except MemoryError:
            reply = {"error": "the query took more memory than one may"}
        except Exception as error:  # noqa: BLE001 - DuckDB's other errors; the next question is not affected
            text = " ".join(str(error).split())[:500]
            reply = {"error": f"the query failed: {text}", "late": "INTERRUPT" in text, "said": said(error)}
        finally:
            interrupt.cancel()
            end.cancel()
        write_frame(replies, reply)


if __name__ == "__main__":
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between the frames
    serve(sys.stdin.buffer, output)
