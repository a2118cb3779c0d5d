"""The traces of segments as the index of the list keeps them, read into Parquet files.

A large segment takes seconds and 100 MiB to read: neither may be the page's. A child process reads it, which yields to
everything else and gives its memory back when it ends. Small ones are read here, sooner than a child would start.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from halo_receiver import child_processes
from halo_receiver.store.reader import Reader

MODULE = "halo_worker.page.segment_traces"
SMALL_BYTES = 4 * 2**20  # of segments together, up to which the page reads them itself
MEMORY = {"here": "96MiB", "child": "256MiB"}  # of DuckDB
NICE = 10
INPUT_CHARACTERS = 200

COLUMNS = """
  trace_id VARCHAR, start_ns BIGINT, end_ns BIGINT, span_count BIGINT, error_count BIGINT, status_code VARCHAR,
  root_name VARCHAR, service_names VARCHAR[], agent_names VARCHAR[], models VARCHAR[], tools VARCHAR[],
  input_tokens BIGINT, output_tokens BIGINT, cost_usd DOUBLE, session_id VARCHAR, user_id VARCHAR, input_text VARCHAR
"""
_TRACES = f"""
WITH tools AS (
  SELECT trace_id, list_sort(list(DISTINCT tool_name)) AS tools FROM spans WHERE tool_name <> '' GROUP BY trace_id
), inputs AS (
  SELECT trace_id, arg_min(left(input_text, {INPUT_CHARACTERS}), start_time) AS input_text FROM spans
  WHERE input_text <> '' GROUP BY trace_id
)
SELECT trace_id, coalesce(epoch_ns(start_time), 0) AS start_ns, coalesce(epoch_ns(end_time), 0) AS end_ns, span_count,
  error_count, status_code, root_name, service_names, agent_names, models, coalesce(tools, []) AS tools, input_tokens,
  output_tokens, cost_usd, session_id, user_id, input_text
FROM traces LEFT JOIN tools USING (trace_id) LEFT JOIN inputs USING (trace_id)
"""


def read(segments: Sequence[Path], folder: Path) -> Generator[tuple[Path, Path | None, str]]:
    """Read segments in this order; yield each with the file of its traces in `folder`, or None and why there is none.

    Where the child ends before its time, the one at which it was is the last. It is ended when the iterator is closed.
    """
    if sum(path.stat().st_size for path in segments if path.exists()) > SMALL_BYTES:
        yield from _read_by_child(segments, folder)
        return
    for number, segment in enumerate(segments):
        made, fault = _made(segment, folder / f"{number}.parquet", MEMORY["here"])
        yield segment, Path(made) if made else None, fault


def _read_by_child(segments: Sequence[Path], folder: Path) -> Generator[tuple[Path, Path | None, str]]:
    words = ("halo-page-index", MODULE, str(folder))
    child = child_processes.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps([str(path) for path in segments]).encode())
            child.stdin.close()
        for segment in segments:
            line = child.stdout.readline()
            if not line:
                yield segment, None, f"the process that read it ended with {child.wait()}"
                return
            made, fault = json.loads(line)
            yield segment, Path(made) if made else None, fault
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _made(segment: Path, found: Path, memory: str) -> tuple[str, str]:
    try:
        with Reader([segment], memory_limit=memory, threads=1) as reader:
            if not reader.segments:
                return "", "; ".join(item.reason for item in reader.set_aside) or "it cannot be opened"
            reader.connection.execute(f"COPY ({_TRACES}) TO '{found}' (FORMAT parquet)")
    except Exception as error:  # noqa: BLE001 - said by the page, which goes on with the next
        return "", f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return str(found), ""


def main() -> None:
    """Read the segments that stdin names, and say on stdout, a line each, what came of it."""
    os.nice(NICE)
    for number, segment in enumerate(json.load(sys.stdin)):
        print(json.dumps(_made(Path(segment), Path(sys.argv[1]) / f"{number}.parquet", MEMORY["child"])), flush=True)


if __name__ == "__main__":
    main()
