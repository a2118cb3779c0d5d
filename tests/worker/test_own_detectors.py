"""Detectors that users write: run over the analysis tables like SQL of strangers; a bad one costs itself alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from halo_worker.analysis.detectors import DETECTORS, Own, examples, reference, rules, run_detectors, tables
from halo_worker.analysis.draft import Draft
from halo_worker.cli.detectors import NEW
from tests.generator.load import reader_of

GOOD = NEW.format(name="slow_export")


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples of the template and of `swallowed_error`: traces on which both fire."""
    folder = tmp_path_factory.mktemp("segment")
    swallowed = next(unit for unit in DETECTORS if unit.name == "swallowed_error")
    return examples.stored([rules.parse(GOOD, "slow_export.sql"), swallowed], folder)[0]


def found(segment: Path, folder: Path, files: dict[str, str], mute: frozenset[str] = frozenset()) -> Draft:
    own = folder / "detectors"
    own.mkdir()
    for name, text in files.items():
        (own / name).write_text(text, encoding="utf-8")
    with reader_of([segment]) as reader:
        return run_detectors(reader, None, Own([own], mute, folder / "work"))


def test_a_rule_of_a_user_finds_what_it_says_and_is_counted_with_the_others(segment: Path, tmp_path: Path) -> None:
    draft = found(segment, tmp_path, {"slow_export.sql": GOOD}, frozenset({"latency_outlier"}))
    finding = next(one for one in draft.findings if one.detector_name == "slow_export")
    assert finding.title == "export takes over a minute"
    assert finding.severity_hint == "medium"
    assert len(finding.occurrences) == 1
    assert finding.evidence
    assert draft.engine.rules["slow_export"] == 1
    assert "latency_outlier" not in draft.engine.rules
    assert draft.not_examined == []
    assert list((tmp_path / "work").rglob("*.duckdb")) == []


def test_a_service_has_thresholds_of_its_own(segment: Path, tmp_path: Path) -> None:
    """Below as many traces, or as great a share of the service's, a detector's findings there do not count."""
    for at, least, told in (("swallowed_error", 0.999, False), ("slow_export", 1000.0, True)):
        own = Own(temp_dir=tmp_path, thresholds={at: {"swallowed_error": least}})
        with reader_of([segment]) as reader:
            named = {one.detector_name for one in run_detectors(reader, None, own).findings}
        assert ("swallowed_error" in named) is told, (at, least)


def test_bad_rules_are_told_with_their_place_and_cost_only_themselves(segment: Path, tmp_path: Path) -> None:
    """A column that is not there, what no parser reads, a file that is not TOML, and SQL that would read files."""
    last = GOOD.index("\nFROM steps")
    files = {
        "a.sql": GOOD.replace("slow_export", "rule_a").replace("duration_ns > 60e9", "durashun > 60e9"),
        "b.sql": GOOD.replace("slow_export", "rule_b").replace("WHERE span_type", "WHERE WHERE span_type"),
        "c.sql": GOOD.replace("slow_export", "rule_c").replace("severity = ", "severty = "),
        "d.sql": GOOD.replace("slow_export", "rule_d").replace("FROM steps", "FROM read_text('/etc/passwd')"),
        "e.sql": GOOD.replace("slow_export", "refusal"),
        "f.sql": GOOD.replace("confidence = 0.8", "confidence = "),
        "slow_export.sql": GOOD,
    }
    draft = found(segment, tmp_path, files)
    assert "slow_export" in draft.engine.rules
    assert {"swallowed_error", "slow_export"} <= {one.detector_name for one in draft.findings}
    line = GOOD[: last + 1].count("\n") + 1
    told = {Path(note.split(": ")[1].split(":")[0]).name: note for note in draft.not_examined}
    assert set(told) == {"a.sql", "b.sql", "c.sql", "d.sql", "e.sql", "f.sql"}
    column = files["a.sql"].split("\n")[line - 1].index("durashun") + 1
    assert f"a.sql:{line}:{column}:" in told["a.sql"]
    assert f"b.sql:{line}:" in told["b.sql"]
    assert "severty" in told["c.sql"]
    assert "read_text" in told["d.sql"]
    assert "already" in told["e.sql"]
    assert "f.sql:12:14:" in told["f.sql"]


def test_the_head_of_a_file_is_checked() -> None:
    for before, after, says in (
        ("confidence = 0.8", "confidence = 2", "'confidence' must be"),
        ('severity = "medium"', 'severity = "bad"', "'severity' must be one of"),
        ('name = "slow_export"', 'name = "Slow Export"', "'name' must be"),
        ("version = 1", "version = 1.5", "'version' must be"),
        ('title = "{subject}', 'title_ = "{subject}', "there is no 'title_'"),
    ):
        assert before in GOOD
        with pytest.raises(rules.RuleError, match=says):
            rules.parse(GOOD.replace(before, after), "x.sql")
    with pytest.raises(rules.RuleError, match=r"x\.sql:1:1"):
        rules.parse("SELECT 1", "x.sql")


def test_each_analysis_table_has_the_columns_that_it_documents(segment: Path) -> None:
    with reader_of([segment]) as reader:
        run_detectors(reader)
        for name, table in tables.known().items():
            columns = [row["column_name"] for row in reader.query(f"DESCRIBE {name}")]
            assert sorted(columns) == sorted(table.columns), name


def test_the_documentation_is_that_of_the_files() -> None:
    """`python -m halo_worker.analysis.detectors.reference docs/detectors.md` writes it."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "detectors.md").read_text(encoding="utf-8")
    assert text.split(reference.BEGINS)[1] == reference.render()
