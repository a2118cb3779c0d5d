"""What newcomers type first, written down before any of it worked. Each is answered, or told what to type instead."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich import console
from rich.cells import cell_len

from halo_receiver.store.reader import Reader
from halo_worker import inputs
from halo_worker.analysis import detectors
from halo_worker.cli import words
from halo_worker.cli.progress import Shown
from halo_worker.cli.results import can_browse
from halo_worker.cli.traces import short_ids, when
from halo_worker.config import load_settings
from tests.fixtures_receiver import trace_request
from tests.worker.conftest import Halo

QUESTION = "Please send back 注文 the blue coat, it was too small for me and I never wore it"


@pytest.fixture
def store(halo: Halo) -> Halo:
    """Twenty traces of two agents in ./halo-data, one in ten of which fails in a tool."""
    Path("traces.jsonl").write_text("".join(line for number in range(20) for line in _trace(number)))
    assert halo("import", "traces.jsonl").code == 0
    return halo


def _trace(number: int) -> list[str]:
    agent, day = ("clerk", "coder")[number % 2], datetime(2026, 11, 24, 6, 0, tzinfo=UTC) + timedelta(minutes=number)
    shared = {
        "trace_id": f"{number:02x}" * 16, "kind": "SPAN_KIND_INTERNAL", "start_time": day.isoformat(),
        "end_time": (day + timedelta(seconds=1)).isoformat(), "scope": {"name": "x"},
        "resource": {"attributes": {"service.name": f"{agent}-api"}},
    }  # fmt: skip
    failed = number % 10 == 0
    spans = (
        ("a", None, "AGENT", {"agent.name": agent, "input.value": QUESTION, "user.id": f"user-{number % 4}",
                              "session.id": f"session-{number}"}),
        ("b", "a", "LLM", {"llm.model_name": "gpt-5.4-mini", "llm.token_count.prompt": 1200,
                           "llm.token_count.completion": 30}),
        ("c", "a", "TOOL", {"tool.name": "refund", "output.value": "order 17 is unknown" if failed else "done"}),
    )  # fmt: skip
    return [
        json.dumps(
            shared | {
                "span_id": f"{number:02x}{letter * 14}", "name": f"{kind.lower()} {agent}",
                "parent_span_id": f"{number:02x}{parent * 14}" if parent else None,
                "attributes": {"openinference.span.kind": kind, **attributes},
                "status": {"code": "STATUS_CODE_ERROR" if failed and kind != "LLM" else "STATUS_CODE_OK"},
            }
        ) + "\n"
        for letter, parent, kind, attributes in spans
    ]  # fmt: skip


GUESSES = {
    "halo status": "60 spans",
    "halo traces": "Please send back",
    "halo traces --agent clerk --errors -n 5": "clerk",
    "halo trace last": "trace 1313131313131313",
    "halo reports last": "clerk",
    "halo issues {issue}": "first seen",
    "halo query -f slow.sql": "60",
    "halo open": "report.html",
    "halo init --yes": "wrote halo.toml",
    "halo logs": "did you mean 'halo traces'?",
    "halo help run": "Usage: halo run",
}


def test_each_first_guess_is_answered(store: Halo, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    Path("slow.sql").write_text("-- a comment\nSELECT count(*) AS n FROM spans;\n")
    piped = store("run", "--last", "1h", "--detectors-only", "--remember").out
    assert piped.startswith("# ")
    assert "\x1b" not in piped
    assert "**" not in store("reports", "last", "--format", "text").out
    known = json.loads(store("issues", "--format", "json").out)
    found = {row["issue_id"]: row["title"] for row in known}
    issue = next((one for one, title in found.items() if "refund" in title), str(found))
    for guess, answer in GUESSES.items():
        done = store(*guess.format(issue=issue).split()[1:])
        assert answer in done.said, guess
        assert "Traceback" not in done.said
    counted = json.loads(store("traces", "--finding", issue, "--format", "json").out)
    assert {row["trace_id"] for row in counted} == {"00" * 16, "0a" * 16}


def test_the_list_of_traces_fits_eighty_columns(store: Halo, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("80", "72", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        lines = store("traces").out.splitlines()
        assert max(map(cell_len, lines)) <= int(columns)
        assert lines[0].split() == ["id", "when", "agent", "input", "err", "tokens", "cost", "took"]
        assert re.match(r"13131313  \S+.* coder +Please", lines[1])


FILTERS = [
    (("--agent", "CLERK"), 10), (("--service", "coder-api"), 10), (("--session", "session-3"), 1),
    (("--user", "user-1"), 5), (("--model", "gpt-5.4-mini"), 20), (("--tool", "refund"), 20),
    (("--status", "error"), 2), (("--errors",), 2), (("-q", "ORDER 17"), 2), (("-n", "3"), 3),
    (("--agent", "clerk", "--user", "user-1"), 0),
]  # fmt: skip


def test_each_filter_picks_what_it_says(store: Halo) -> None:
    for given, expected in FILTERS:
        rows = json.loads(store("traces", *given, "--format", "json").out)
        assert len(rows) == expected, given
        assert all(row["input_text"] == QUESTION for row in rows)


def test_a_name_that_no_trace_has_is_told_what_is_like_it(store: Halo) -> None:
    done = store("traces", "--agent", "clark")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'clerk'?" in done.err
    assert "no trace has one" not in store("traces", "--user", "nobody").err


def test_ids_are_as_long_as_tells_them_apart() -> None:
    assert short_ids(["trace-0001", "trace-0002"]) == ["trace-0001", "trace-0002"]
    assert short_ids(["a" * 32, "b" * 32]) == ["a" * 8, "b" * 8]


def test_a_moment_is_as_short_as_names_it() -> None:
    now = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
    moments = ("2026-11-27T09:35:11.000000000Z", "2026-11-25T09:35:11.000000000Z", "2026-11-01T09:35:11Z", None)
    assert [when(moment, now) for moment in moments] == ["09:35:11", "Wed 09:35", "2026-11-01", "-"]


def test_wide_rows_stand_one_value_a_line_and_internal_tables_are_hidden(store: Halo) -> None:
    lines = store("query", "SELECT * FROM spans ORDER BY span_id LIMIT 1").out.splitlines()
    assert any(re.fullmatch(r"span_id +00a{14}", line) for line in lines)
    assert len(lines) > 40
    assert store("query", "SHOW TABLES").out.split() == ["name", "spans", "traces", "logs"]
    done = store("query", "SELECT * FROM span")
    assert "the tables are spans, traces and logs" in done.err
    assert "_" not in done.err.replace("error_", "")


def test_init_writes_settings_that_load_from_its_three_answers(halo: Halo, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["/srv/halo data", "07:30 Europe/Berlin", "slack"])
    monkeypatch.setattr("click.prompt", lambda *_args, **_options: next(answers))
    assert halo("init").code == 0
    found = load_settings(file=Path("halo.toml"), environment={})
    assert found.store.data_dir == Path("/srv/halo data")
    assert (found.schedules["daily"].cron, found.schedules["daily"].timezone) == ("30 7 * * *", "Europe/Berlin")
    assert found.sinks["team"].type == "slack"
    again = halo("init", "--yes")
    assert again.code == 2
    assert "--force" in again.err
    assert halo("init", "--yes", "--force").code == 0
    assert load_settings(file=Path("halo.toml"), environment={}).sinks == {}


def test_an_unknown_word_names_the_nearest_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word, meant in {"trase": "trace", "isues": "issues", "start": "up", "LOGS": "traces", "dr": None}.items():
        found = words.unknown([word])
        assert found is not None
        assert meant is None or meant in found[1]
    for file in ("traces.jsonl", "./up", "*.json", "-"):
        assert words.unknown([file]) is None
    Path("logs").mkdir()
    assert words.unknown(["logs"]) is None
    assert words.unknown(["--data-dir", "x", "logz"]) == ("logz", ["traces"])
    assert set(words.SYNONYMS.values()) <= set(words.COMMANDS)
    assert not set(words.SYNONYMS) & set(words.COMMANDS)


ADVISED = {
    ("stop",): "Ctrl-C", ("restart",): "then 'halo up'", ("backup",): "copy the data directory", ("keys",): "[auth]",
    ("export", "traces.jsonl"): "halo query", ("search", "timeout"): "halo traces", ("logs",): "halo traces",
    ("config", "show"): "halo init", ("traces", "--since", "1h"): "--last 1h", ("errors",): "halo issues",
    ("sessions",): "halo traces --session", ("agents",): "halo traces --agent", ("connect",): "docs/connect.md",
    ("update",): "pip install --upgrade", ("cost",): "sum(cost_usd)",
}  # fmt: skip


def test_first_guesses_are_told_what_does_it(halo: Halo) -> None:
    """Written down before they were tried: what people type first, and what they are told."""
    for guess, told in ADVISED.items():
        done = halo(*guess)
        assert done.code == 2
        assert told in done.err, (guess, done.err)
    assert halo("-v").out == halo("version").out == halo("--version").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(halo: Halo, shell: str) -> None:
    done = halo("completion", shell)
    assert done.code == 0
    assert "_HALO_COMPLETE" in done.out


def test_the_shell_is_told_commands_and_options() -> None:
    """As bash asks: the words so far in the environment, one candidate a line."""

    def complete(line: str, word: int) -> str:
        asked = {"_HALO_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(word)}
        command = [sys.executable, "-c", "from halo_worker.cli import main; main()"]
        return subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False).stdout

    assert "plain,traces" in complete("halo tra", 1)
    assert "plain,--agent" in complete("halo traces --ag", 2)


def test_a_browser_is_expected_where_there_is_a_screen() -> None:
    assert can_browse({"DISPLAY": ":0"})
    assert not can_browse({}) or sys.platform == "darwin"


def test_help_loads_neither_arrow_nor_the_openai_client() -> None:
    """`halo --help` is answered before a person wonders: nothing heavy is imported for it."""
    code = (
        "import sys\nfrom halo_worker.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'pyarrow', 'duckdb', 'openai', 'slack_sdk', 'pydantic', 'grpc', 'rich', 'httpx', 'aiohttp'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("loaded: []\n")


def test_small_commands_load_no_engine(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom halo_worker.cli import main\ntry:\n    main(['issues'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'openai', 'slack_sdk', 'apscheduler', 'aiohttp', 'halo_worker.run'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.endswith("loaded: []\n")


def test_an_import_and_the_detectors_say_how_far_they_are(tmp_path: Path) -> None:
    """In words, which a terminal shows in one line that renews itself."""
    (tmp_path / "spans.pb").write_bytes(trace_request((1, 1), (2, 2)))
    said: list[str] = []
    with console.Console(file=io.StringIO()).status("reading") as status:
        shown = Shown(status)

        def step(text: str) -> None:
            shown(text)
            said.append(str(status.status))

        imported = inputs.write_segments(
            [str(tmp_path / "spans.pb")], tmp_path / "out", now_ns=1, arrival="span-time", step=step
        )
        with Reader(imported.segments) as reader:
            detectors.every_finding(reader, only=detectors.DETECTORS[:2], step=step)
    names = [unit.name for unit in detectors.DETECTORS[:2]]
    assert said == [
        "2 spans and log records so far", "preparing the tables of the window",
        f"detector 1 of 2: {names[0]}", f"detector 2 of 2: {names[1]}",
    ]  # fmt: skip
