"""What people decide is recorded once, whoever writes, and no line that is broken costs another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halo_worker.errors import InputError
from halo_worker.report.decisions import Decision, Decisions, standing

ONE, OTHER = "HALO-00000001", "HALO-00000002"


def test_what_was_decided_is_read_back_in_order(tmp_path: Path) -> None:
    record = Decisions(tmp_path / "reports")
    record.append(ONE, "resolve", now_ns=10, note=" fixed ", release="2.4.1", by="ada")
    record.append(ONE, "wrong", now_ns=20, note="it is a test", traces=["a", "b", "a"], by="")
    record.append(OTHER, "mute", now_ns=15)
    found = record.read()
    assert found[ONE] == [
        Decision(ONE, "resolve", "fixed", 10, "ada", "2.4.1"),
        Decision(ONE, "wrong", "it is a test", 20, "", None, ("a", "b")),
    ]
    assert [item.action for item in found[OTHER]] == ["mute"]


def test_a_torn_line_costs_itself_alone_and_the_next_one_is_whole(tmp_path: Path) -> None:
    """The end of a full disk or a loss of power, in the middle of a character."""
    record = Decisions(tmp_path)
    record.append(ONE, "mute", now_ns=1)
    record.append(ONE, "note", now_ns=2, note="später")
    content = record.path.read_bytes()
    record.path.write_bytes(content[: content.index("ä".encode()) + 1])
    assert [item.action for item in record.read()[ONE]] == ["mute"]
    record.append(ONE, "unmute", now_ns=3)
    assert [item.action for item in record.read()[ONE]] == ["mute", "unmute"]


@pytest.mark.parametrize(
    "line",
    [
        "[]", "null", "{", '{"issue_id": 7, "action": "mute", "at_ns": 1}',
        '{"issue_id": "", "action": "mute", "at_ns": 1}',
        '{"issue_id": "x", "action": [], "at_ns": 1}', '{"issue_id": "x", "action": "mute", "at_ns": true}',
        '{"issue_id": "x", "action": "mute", "at_ns": 1e400}', '{"issue_id": "x", "action": "mute", "at_ns": -1}',
        '{"issue_id": "x", "action": "wrong", "at_ns": 1, "note": "", "traces": [1]}', "[" * 100_000, "9" * 10_000,
        "\x00" * 5000,
    ],
)  # fmt: skip
def test_a_line_that_is_no_decision_is_passed_over(tmp_path: Path, line: str) -> None:
    record = Decisions(tmp_path)
    record.append(ONE, "mute", now_ns=1)
    with record.path.open("a") as file:
        file.write(f"{line}\n")
    record.append(ONE, "note", now_ns=2, note="after it")
    assert {one: [item.action for item in made] for one, made in record.read().items()} == {ONE: ["mute", "note"]}


@given(st.binary(max_size=400))
def test_no_bytes_stop_the_reading(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    record = Decisions(tmp_path_factory.mktemp("reports"))
    record.path.write_bytes(content)
    record.append(ONE, "mute", now_ns=1)
    assert record.read()[ONE][-1].action == "mute"


def test_lines_of_earlier_and_later_builds_are_understood(tmp_path: Path) -> None:
    """An earlier build wrote no version; an action of a later one is kept, and has no effect."""
    record = Decisions(tmp_path)
    lines = [
        {"issue_id": ONE, "action": "mute", "note": "", "at_ns": 1},
        {"version": 9, "issue_id": ONE, "action": "snooze", "at_ns": 2, "until": 7},
    ]
    record.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    made = record.read()[ONE]
    assert [item.action for item in made] == ["mute", "snooze"]
    assert standing(made).muted is not None


def test_writers_at_once_lose_no_decision(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from halo_worker.report.decisions import Decisions\n"
        "record = Decisions(pathlib.Path(sys.argv[1]))\n"
        "for n in range(20): record.append(sys.argv[2], 'note', now_ns=n, note='x' * 3000)"
    )
    ids = [f"HALO-0000000{number}" for number in range(4)]
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), one]) for one in ids]
    assert [writer.wait() for writer in writers] == [0] * 4
    found = Decisions(tmp_path).read()
    assert {one: [item.at_ns for item in made] for one, made in found.items()} == {one: list(range(20)) for one in ids}


@pytest.mark.parametrize(
    ("action", "given", "says"),
    [
        ("wrong", {}, "needs a reason"),
        ("note", {}, "is empty"),
        ("mute", {"release": "1"}, "takes no release"),
        ("resolve", {"traces": ["a"]}, "takes no traces"),
        ("snooze", {}, "no action 'snooze'"),
        ("note", {"note": "x" * 5000}, "at most 4,000"),
    ],
)
def test_what_does_not_fit_the_action_is_refused_and_not_written(
    tmp_path: Path, action: str, given: dict[str, object], says: str
) -> None:
    record = Decisions(tmp_path)
    with pytest.raises(InputError, match=says):
        record.append(ONE, action, now_ns=1, **given)  # type: ignore[arg-type]
    assert not record.path.exists()


def said(*actions: str) -> list[Decision]:
    return [Decision(ONE, action, "because", at) for at, action in enumerate(actions)]


def test_which_decisions_are_in_force() -> None:
    assert standing(said("mute")).muted
    assert standing(said("mute", "unmute")).muted is None
    assert standing(said("mute", "note")).muted
    assert standing(said("mute", "resolve")).muted is None, "one wants to hear of it when it is back"
    assert standing(said("resolve", "mute")).resolved
    assert standing(said("wrong", "wrong")).wrong_as_a_whole
    emptied = standing(said("mute", "wrong", "resolve", "reopen"))
    assert (emptied.muted, emptied.resolved, emptied.wrong) == (None, None, ())
    assert standing(said("mute", "unmute"), until_ns=0).muted, "as of then"
