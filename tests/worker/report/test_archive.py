"""Published whole or not at all, and read back by all that comes after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from halo_worker.errors import ReportError
from halo_worker.report.affected import AffectedSpan
from halo_worker.report.archive import Archive, new_run_id
from halo_worker.report.model import Report, schema
from tests.builders import DAY, START, finding, report

PROTO = Path(__file__).resolve().parents[3] / "proto"


def test_the_schema_in_proto_is_that_of_the_model() -> None:
    """`make schema` renews it."""
    assert (PROTO / "report.schema.json").read_text(encoding="utf-8") == schema()


def test_a_report_survives_being_written_and_read() -> None:
    made = report(finding())
    assert Report.model_validate_json(made.to_json()) == made
    assert json.loads(made.to_json())["window"]["end"].endswith(".000000000Z")


def test_a_published_report_is_a_folder_with_everything_in_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "reports")
    affected = [AffectedSpan("i", "t", None, "s")]
    folder = archive.publish(report(finding()), {"report.md": "# x"}, affected=affected, sinks=["ops"])
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "affected.jsonl", "receipts"}
    assert json.loads((folder / "affected.jsonl").read_text()) == {
        "issue_id": "i", "trace_id": "t", "origin_span_id": None, "symptom_span_id": "s", "span_id": "s",
    }  # fmt: skip
    assert json.loads((folder / "receipts" / "ops.json").read_text())["state"] == "waiting"
    assert archive.load(report().id[:10]) == report(finding())
    assert [path.name for path in archive.directory.iterdir()] == [report().id], "nothing half made is left"


def test_a_report_is_never_published_over_another(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.publish(report(), {})
    with pytest.raises(ReportError):
        archive.publish(report(finding()), {})
    assert archive.load(report().id).findings == []


def test_a_broken_report_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.publish(report(day=0, schedule="daily"), {})
    archive.publish(report(day=1, schedule="daily"), {})
    (tmp_path / report(day=1).id / "report.json").write_text('{"id": 3', encoding="utf-8")
    reports, broken = archive.reports()
    assert [one.id for one in reports] == [report(day=0).id]
    assert [one.name for one in broken] == [report(day=1).id]
    assert archive.watermark("daily") == START + DAY
    assert archive.watermark("other") is None


@pytest.mark.parametrize("id_", ["../../victim", "/etc", "", ".", report(day=0).id, "x\n\x1b[2J"])
def test_a_report_whose_id_is_not_its_folders_name_costs_itself_alone(tmp_path: Path, id_: str) -> None:
    """Paths are made of ids: of receipts, of pages, of what sinks write."""
    archive = Archive(tmp_path / "reports")
    archive.publish(report(day=0, schedule="daily"), {})
    folder = archive.publish(report(day=1, schedule="daily"), {})
    (folder / "report.json").write_text(report(id=id_, schedule="daily").to_json(), encoding="utf-8")
    with pytest.raises(ReportError, match="is not the name of its folder") as refused:
        archive.load(folder.name)
    assert "\x1b" not in str(refused.value)
    reports, broken = archive.reports()
    assert [one.id for one in reports] == [report(day=0).id]
    assert [one.name for one in broken] == [folder.name]
    assert archive.watermark("daily") == START + DAY


def test_run_ids_sort_by_time() -> None:
    ids = [new_run_id(START + second * 10**9) for second in range(3)]
    assert ids == sorted(ids)
