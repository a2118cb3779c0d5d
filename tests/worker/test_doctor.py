"""`halo doctor` tells a person what the receiver counted and what it set aside: each line, from where it comes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from halo_receiver import wire
from halo_receiver.otlp_messages import TraceRequest
from halo_worker import counters
from halo_worker.cli import main
from tests.builders import flat_failures
from tests.fixtures_receiver import ReceiverProcess, eventually, trace_request

Said = Callable[[Path], list[tuple[str, str, str]]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    """What doctor says of a data directory: (what, state, words), in order."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("HALO_", "OPENAI_"))]:
        monkeypatch.delenv(name)

    def ask(data_dir: Path) -> list[tuple[str, str, str]]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--format", "json", "--data-dir", str(data_dir)])
        rows = [(row["check"], row["state"], row["says"]) for row in json.loads(capfd.readouterr().out)]
        assert ended.value.code == any(state == "problem" for _, state, _ in rows)
        return rows

    return ask


def of(rows: list[tuple[str, str, str]], what: str) -> list[tuple[str, str]]:
    return [(state, says) for found, state, says in rows if found == what]


def test_what_the_receiver_took_mended_and_rejected_is_told(tmp_path: Path, said: Said) -> None:
    receiver = ReceiverProcess(tmp_path / "data")
    try:
        receiver.export(trace_request((1, 1), (1, 2)))
        receiver.export(trace_request((2, 1), (0, 2)))  # the second has no trace id
        request = TraceRequest.FromString(trace_request((3, 1)))
        span = request.resource_spans[0].scope_spans[0].spans[0]
        for _ in range(2):
            span.attributes.add(key=b"twice", value={"int_value": 1})
        receiver.export(request.SerializeToString())
        rows = said(tmp_path / "data")
    finally:
        receiver.kill()
    address = f"gRPC {receiver.address['grpc']}, HTTP {receiver.address['http']}"
    assert of(rows, "receiver") == [("ok", f"process {receiver.process.pid}, {address}")]
    assert of(rows, "readiness") == [("ok", "takes requests")]
    [(state, words)] = of(rows, "received")
    assert state == "ok"
    assert words.startswith("4 spans and 0 log records in 3 requests, 0.0 MiB, answered in ")
    assert [state for state, _ in of(rows, "loader")] == ["ok"]
    assert of(rows, "receiver counters") == [("note", "items rejected for good, told in partial success: 1")]
    assert of(rows, "mended") == [("note", "duplicate attribute key: last kept: 1 in the last 24 hours")]
    assert of(rows, "decoder") == [("ok" if wire.available() else "note", wire.description())]
    [(state, words)] = of(rows, "data directory")
    assert (state, f"{tmp_path / 'data'}: 1 segments, " in words) == ("ok", True)


def test_a_receiver_that_takes_nothing_says_why_and_how_often(tmp_path: Path, said: Said) -> None:
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_MIN_FREE_BYTES=str(2**60))
    try:
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                receiver.export(trace_request((1, 1)))
        rows = said(tmp_path / "data")
    finally:
        receiver.kill()
    [(state, words)] = of(rows, "readiness")
    assert (state, words.startswith("the disk is full: ")) == ("problem", True)
    assert of(rows, "receiver counters") == [("note", "requests told to come back: 2")]


def test_a_receiver_that_was_killed_is_told_from_one_that_never_was(tmp_path: Path, said: Said) -> None:
    receiver = ReceiverProcess(tmp_path / "data")
    receiver.kill()
    [(state, words)] = of(said(tmp_path / "data"), "receiver")
    assert state == "problem"
    assert "does not answer" in words
    assert words.endswith(f"If process {receiver.process.pid} was killed, 'halo up' goes on where it ended")
    rows = said(tmp_path / "never")
    assert of(rows, "receiver") == [("note", "none is running on this directory: 'halo up' starts one")]
    assert of(rows, "data directory") == [("note", f"{tmp_path / 'never'} is not there yet: 'halo up' makes it")]


def test_a_loader_that_died_and_what_it_set_aside_are_told(tmp_path: Path, said: Said) -> None:
    """A damaged stretch, found by a start: counted by the loader, and kept in a file that is named."""
    receiver = ReceiverProcess(tmp_path / "data")
    os.kill(receiver.loader, signal.SIGSTOP)
    receiver.export(trace_request((1, 1)))
    receiver.export(trace_request((2, 2)))
    receiver.kill()
    (path,) = (tmp_path / "data" / "spool").glob("*.spool")
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    receiver = ReceiverProcess(tmp_path / "data")
    try:
        os.kill(receiver.loader, signal.SIGKILL)
        eventually(lambda: receiver.metric("halo_loader_restarts_total") == 1)
        rows = said(tmp_path / "data")
        assert receiver.rows("SELECT count(*) AS n FROM spans") == [{"n": 1}]
    finally:
        receiver.kill()
    assert ("note", "times the loader was started again: 1") in of(rows, "receiver counters")
    aside = tmp_path / "data" / "spool" / "set-aside"
    assert of(rows, "set aside") == [("problem", f"1 part of the spool damaged; kept in {aside}")]


def test_each_kind_of_what_was_set_aside_is_told_in_its_words(tmp_path: Path, said: Said) -> None:
    aside = tmp_path / "data" / "spool" / "set-aside"
    aside.mkdir(parents=True)
    assert of(said(tmp_path / "data"), "set aside") == []
    for name in ("1-0.traces.protobuf.none", "1-9.logs.json.gzip", "1-20.torn", "000000000002.missing", "1-50.damaged"):
        (aside / name).write_bytes(b"x")
    assert of(said(tmp_path / "data"), "set aside") == [
        ("problem", f"2 requests could not be read or stored; kept in {aside}, 'halo import' reads such files"),
        ("problem", f"1 part of the spool damaged; kept in {aside}"),
        ("problem", "1 spool file deleted before it was loaded: 000000000002.missing"),
        ("note", "1 write unfinished when a process was killed: not acknowledged"),
    ]


def test_segments_that_are_broken_or_cannot_be_read_are_named(tmp_path: Path, said: Said) -> None:
    (tmp_path / "traces.jsonl").write_text(flat_failures("failed"))
    with pytest.raises(SystemExit):
        main(["import", "--data-dir", str(tmp_path / "data"), str(tmp_path / "traces.jsonl")])
    segments = tmp_path / "data" / "segments"
    (good,) = segments.glob("*.duckdb")
    broken = segments / f"{good.name}.broken"
    broken.write_bytes(b"kept for a person")
    assert of(said(tmp_path / "data"), "segments") == [("problem", f"1 set aside as broken, such as {broken.name}")]
    good.write_bytes(b"no database" * 1000)
    (segments / "manifest.json").unlink(missing_ok=True)
    named = of(said(tmp_path / "data"), "segments")
    assert any(state == "problem" and f"{good.name} cannot be read: " in says for state, says in named), named


def test_the_counters_of_a_receiver_in_trouble_are_told_in_a_persons_words() -> None:
    text = """# HELP halo_loader_lag_seconds Age of the oldest acknowledged request not loaded
halo_accepted_total{service="a \\"b\\"",signal="traces"} 1200.0
halo_accepted_total{service="c",signal="logs"} 3.0
halo_received_bytes_total{signal="traces"} 3.145728e+06
halo_acknowledgement_seconds_sum{signal="traces"} 0.5
halo_acknowledgement_seconds_count{signal="traces"} 100.0
halo_spool_backlog_bytes 2.097152e+06
halo_loader_lag_seconds 31.0
halo_loader_stuck_total 2.0
halo_loader_events_total{event="set_aside_requests"} 4.0
halo_loader_events_total{event="mended: end before start"} 5.0
"""
    assert list(counters.told(text)) == [
        ("received", "ok", "1,200 spans and 3 log records in 100 requests, 3.0 MiB, answered in 5.0 ms on average"),
        ("loader", "note", "2.0 MiB acknowledged and not loaded, the oldest for 31 s"),
        ("receiver counters", "note", "times the loader was stuck: 2"),
        ("receiver counters", "note", "set aside requests: 4"),
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://bob:hunter2@127.0.0.1:9/v1?key=hunter2#hunter2", "http://127.0.0.1:9/v1?…"),
        ("http://hunter2@127.0.0.1:9/v1", "http://127.0.0.1:9/v1"),
        ("http://127.0.0.1:hunter2/v1", "a URL that cannot be read"),
        ("http://127.0.0.1:99999/v1", "a URL that cannot be read"),
    ],
)
def test_the_models_url_is_shown_without_what_is_secret(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch, url: str, shown: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    rows = said(tmp_path / "data")
    [(state, words)] = of(rows, "model")
    assert (state, f" at {shown} (" in words) == ("ok", True)
    assert [state for state, _ in of(rows, "model endpoint")] == ["problem"]
    assert "hunter2" not in json.dumps(rows)


def test_a_repository_whose_history_is_not_read_is_said(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALO_ANALYSIS_REPO_PATH", str(tmp_path))
    assert [state for state, _ in of(said(tmp_path / "data"), "repository")] == ["ok"]
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    [(state, words)] = of(said(tmp_path / "data"), "repository")
    assert (state, "history is not read" in words) == ("note", True)


def test_which_expectations_cannot_be_measured_on_this_capture_is_said(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "EXPECTATIONS.md"
    rules = {"E2": "name = 'no such'", "E3": "output_text = 'x'", "E4": "nope = 1", "E5": "status_code = 'ERROR'"}
    lines = [f"- {name}: a rule\n  ```sql\n  SELECT trace_id, span_id FROM spans WHERE {sql}\n  ```"
             for name, sql in rules.items()]  # fmt: skip
    file.write_text("\n".join(("- E1: be kind", *lines)))
    monkeypatch.setenv("HALO_ANALYSIS_EXPECTATIONS", str(file))
    rows = [{"trace_id": f"{n:032x}", "span_id": f"{n:016x}", "name": "x", "start_time": "2026-11-18T10:00:00Z",
             "end_time": "2026-11-18T10:00:01Z", "status": {"code": "STATUS_CODE_ERROR"}} for n in (1, 2)]  # fmt: skip
    spans = tmp_path / "spans.jsonl"
    spans.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(SystemExit):
        main(["import", "--data-dir", str(tmp_path / "data"), str(spans)])
    found = of(said(tmp_path / "data"), "expectations")
    assert ("note", "E1: in words alone, which only a model can judge") in found
    problems = " ".join(words for state, words in found if state == "problem")
    assert "expectation E3 was not measured: no span of this capture has output_text" in problems
    assert "expectation E4 was not measured: " in problems
    assert ("ok", "2 measured by SQL, 1 broken in the last 24 hours") in found
