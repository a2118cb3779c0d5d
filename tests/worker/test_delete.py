"""`halo delete`: nothing that a person said is left in the data directory, and the others' data is untouched."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.store import merge
from halo_receiver.store.reader import Reader
from halo_worker.report.model import iso_nano
from tests.worker.analysis.windows import write
from tests.worker.conftest import Halo

USER, OTHER = "zebulon-7731", "amalia-1904"
SECRETS = (USER, "quagmire", "Vermilion Street", "heliotrope")


def lines(user: str, number: int, at_ns: int, *, said: str, error: str) -> Iterator[dict[str, Any]]:
    for place in range(number):
        trace = f"{sum(map(ord, user)):016x}{place:016x}"
        for span, kind, more in (
            (0, "AGENT", {"user.id": user, "input.value": said, "output.value": f"noted: {said}"}),
            (1, "TOOL", {"tool.name": "refund", "input.value": json.dumps({"note": said}), "output.value": ""}),
        ):
            yield {
                "trace_id": trace, "span_id": f"{trace[-14:]}{span:02x}", "name": kind.lower(),
                "parent_span_id": "" if span == 0 else f"{trace[-14:]}00", "kind": "SPAN_KIND_INTERNAL",
                "start_time": iso_nano(at_ns - 10**9), "end_time": iso_nano(at_ns),
                "status": {"code": "STATUS_CODE_ERROR" if span else "STATUS_CODE_OK", "message": error if span else ""},
                "resource": {"attributes": {"service.name": "shop"}}, "scope": {"name": "test", "version": "1"},
                "attributes": {"openinference.span.kind": kind, **more},
            }  # fmt: skip


def left_over(data_dir: Path) -> list[str]:
    """Where anything of the user is still found: in files as they lie there, and in what segments hold compressed."""
    found = [
        f"{path.relative_to(data_dir)}: {secret}"
        for path in data_dir.rglob("*")
        if path.is_file()
        for secret in SECRETS
        if secret.lower().encode() in path.read_bytes().lower()
    ]
    with Reader.open(data_dir) as reader:
        for table in ("_span_rows", "_log_rows", "traces"):
            text = str(reader.query(f"SELECT * FROM {table}")).lower()
            found += [f"{table}: {secret}" for secret in SECRETS if secret.lower() in text]
    return found


def test_nothing_of_a_user_is_left_after_a_deletion_that_was_killed_and_run_again(
    tmp_path: Path, halo: Halo, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, data = time.time_ns(), tmp_path / "halo-data"
    for place, user in enumerate((USER, OTHER)):
        said = f"my address is {SECRETS[2]} {place}, the word is heliotrope" if user == USER else "where is my parcel?"
        error = "quagmire: the ledger of this customer is closed" if user == USER else "the warehouse is on holiday"
        file = write(lines(user, 6, now - 10**9, said=said, error=error), tmp_path / f"{user}.jsonl")
        assert halo("import", str(file)).code == 0
    assert halo("run", "--last", "1h", "--detectors-only", "--remember").code == 0
    [issue, *_] = json.loads(halo("issues", "--format", "json").out)
    assert halo("issues", "note", issue["issue_id"], "--note", f"{USER} called about it").code == 0
    for name in ("runs/old/trajectory.jsonl", "cache/answer.json", "spool/set-aside/000000000001-0.torn"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(f"{SECRETS[2]} heliotrope")
    [folder] = (path.parent for path in data.glob("reports/*/report.json"))
    theirs, others = ({"trace_id": f"{sum(map(ord, one)):016x}{0:016x}", "what": what}
                      for one, what in ((USER, "heliotrope is not answered"), (OTHER, "no parcel")))  # fmt: skip
    (folder / "labels.jsonl").write_text(f"{json.dumps(theirs)}\n{json.dumps(others)}\n")
    (data / "segments" / "spans-20260101T000000Z-000900.duckdb.broken").write_text("heliotrope")
    assert {one.partition(": ")[2] for one in left_over(data)} == {*SECRETS}

    dry = json.loads(halo("delete", "--user", USER, "--format", "json").out)
    assert dry == {
        "deleted": False, "traces": 6, "spans": 12, "logs": 0, "reports": dry["reports"], "unreadable_files": 2,
    }  # fmt: skip
    assert len(dry["reports"]) == 1

    def dies(*_: Any, **__: Any) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as killed:
        killed.setattr(merge, "publish", dies)
        killed.setattr(Path, "unlink", dies)
        assert halo("delete", "--user", USER, "--yes").code == 137
    assert left_over(data) != []
    assert halo("delete", "--user", USER, "--yes").code == 0
    assert left_over(data) == []
    users = halo("query", "--format", "json", "SELECT user_id, count(*) AS n FROM spans WHERE user_id <> '' GROUP BY 1")
    assert json.loads(users.out) == [{"user_id": OTHER, "n": 6}]
    report = json.loads((data / "reports" / dry["reports"][0] / "report.json").read_text())
    quotes = {one["quote"] for finding in report["findings"] for one in finding["evidence"]}
    assert "[deleted]" in quotes
    assert any("warehouse" in quote for quote in quotes)
    titles = {one["title"] for one in report["findings"]}
    assert "[deleted]" in titles
    assert json.loads((folder / "labels.jsonl").read_text()) == others
    page = (data / "reports" / report["id"] / "report.md").read_text()
    assert [title for title in titles if title in page and title != "[deleted]"]


@pytest.mark.parametrize("by", ["--before", "--session", "--trace"])
def test_what_else_can_be_named_goes_and_the_rest_stays(tmp_path: Path, halo: Halo, by: str) -> None:
    """By when its last span came, by its session, by its id; a session that begins alike is another."""
    now = time.time_ns()
    for user, at_ns in ((USER, now - 7200 * 10**9), (OTHER, now - 10**9)):
        rows = list(lines(user, 3, at_ns, said="hello", error="refused"))
        for row in rows:
            row["attributes"]["session.id"] = f"s-{row['trace_id'][-1]}{'' if user == USER else '0'}"
        file = write(iter(rows), tmp_path / f"{user}.jsonl")
        assert halo("import", str(file), "--arrival", "span-time").code == 0
    first = next(lines(USER, 1, now, said="", error=""))["trace_id"]
    given = {"--before": iso_nano(now - 3600 * 10**9), "--session": "s-0", "--trace": first}[by]
    gone = 3 if by == "--before" else 1
    done = halo("delete", by, given, "--yes", "--format", "json")
    assert (done.code, json.loads(done.out)["traces"]) == (0, gone)
    left = json.loads(halo("query", "--format", "json", "SELECT trace_id, session_id FROM traces ORDER BY 1").out)
    assert len(left) == 6 - gone
    assert first not in {row["trace_id"] for row in left}
    assert {f"s-{number}0" for number in range(3)} <= {row["session_id"] for row in left}
