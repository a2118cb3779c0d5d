"""A failure mode has one issue at GitHub, which says what the last report says of it, whatever was lost meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from halo_worker.config import RedactionConfig
from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.courier import Courier, make_sink, unreachable
from halo_worker.delivery.github import GitHub
from halo_worker.delivery.sink import Parcel
from halo_worker.delivery.tracker import TrackerSink
from halo_worker.links import NONE, Links
from halo_worker.report import ticket
from halo_worker.report.archive import Archive
from halo_worker.report.fixes import Affected, FixCheck
from halo_worker.report.model import Finding, Report
from tests.builders import START, finding, report
from tests.worker.delivery.github_server import TOKEN, GitHubServer

ISSUE = "HALO-00000001"


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    made = GitHubServer()
    yield made
    made.close()


class Team:
    """Reports of a schedule, brought to GitHub by a courier whose clock is set by hand."""

    def __init__(self, folder: Path, github: GitHubServer, **settings: Any) -> None:
        self.now = time.time()
        self.pauses: list[float] = []
        self.archive = Archive(folder / "reports")
        values = {"type": "github", "repo": "acme/agents", "token": TOKEN, "endpoint": github.url} | settings
        self.sinks = {"gh": SinkConfig.model_validate(values)}
        self.make = lambda _, config: TrackerSink(config, GitHub(config, pause=self.pauses.append))

    def deliver(self, *findings: Finding, day: int, again: bool = False, **changes: Any) -> str:
        made = report(*findings, day=day, **{"schedule": "morning"} | changes)
        if not (self.archive.directory / made.id).exists():
            self.archive.publish(made, {"report.md": "# x"}, sinks=["gh"])
        return self.courier().deliver(made.id, ["gh"], again=again)[0].state

    def courier(self, make: Any = None) -> Courier:
        links = Links.model_validate({"report_url": "https://halo.example/{id}"})
        return Courier(
            self.archive, self.sinks, RedactionConfig.model_validate({}), links=links, clock=lambda: self.now,
            make=make or self.make,
        )  # fmt: skip

    def note(self, day: int = 0) -> dict[str, Any]:
        [path] = self.archive.directory.glob(f"202611{20 + day:02d}*/receipts/gh.json")
        return dict(json.loads(path.read_text()))


def test_an_issue_is_made_once_and_lives_as_its_failure_mode_does(tmp_path: Path, github: GitHubServer) -> None:
    team = Team(tmp_path, github, labels=["bug"], assignee="octocat")
    assert team.deliver(finding(), day=0) == "done"
    [issue] = github.issues
    assert {one["name"] for one in issue["labels"]} == {"halo", "bug"}
    assert [one["login"] for one in issue["assignees"]] == ["octocat"]
    assert ISSUE in issue["title"]
    assert "https://halo.example/20261120T060000Z-aaaaaa" in issue["body"]
    issue["body"] = f"Seen by us, too.\n\n{issue['body']}\n\nOurs: #7"

    assert team.deliver(finding(traces=30, state="ongoing"), day=1) == "done"
    assert "30 of 427 traces" in issue["body"]
    assert github.comments == {}, "nothing that calls for a reader"
    assert team.deliver(finding(traces=90, state="worsening"), day=2) == "done"
    assert "**worsening**" in github.comments[1][0]["body"]
    assert team.deliver(finding(traces=0, state="resolved"), day=3) == "done"
    assert (issue["state"], issue["state_reason"]) == ("closed", "completed")
    assert team.deliver(finding(traces=5, state="regressed"), day=5) == "done"
    assert issue["state"] == "open"
    assert len(github.issues) == 1
    assert len(github.comments[1]) == 3
    assert issue["body"].startswith("Seen by us, too.\n\n<!-- halo:issue")
    assert issue["body"].endswith("-->\n\nOurs: #7"), "what people wrote stays"

    assert team.deliver(finding(traces=1, state="ongoing"), day=4) == "done"
    assert "5 of 427 traces" in issue["body"], "an older report changes nothing"
    before = len(github.wrote())
    assert team.deliver(finding(traces=8, state="resolved"), day=6, schedule=None) == "done"
    assert len(github.wrote()) == before, "nor does a run by hand"


def test_a_lost_receipt_makes_no_second_issue_and_no_second_comment(tmp_path: Path, github: GitHubServer) -> None:
    """Killed after GitHub took the request: the search does not know the issue yet, the list of its label does."""

    class Killed(BaseException):
        pass

    class Dying(GitHub):
        def create(self, title: str, body: str) -> Any:
            super().create(title, body)
            raise Killed

        def update(self, key: str, body: str, *, is_open: bool | None) -> None:
            raise Killed

    team = Team(tmp_path, github)
    dying = team.courier(lambda _, config: TrackerSink(config, Dying(config, pause=team.pauses.append)))
    github.indexed = False
    for day, state in enumerate(("new", "worsening")):
        made = report(finding(state=state), day=day, schedule="morning")
        team.archive.publish(made, {"report.md": "# x"}, sinks=["gh"])
        with pytest.raises(Killed):
            dying.deliver(made.id, ["gh"])
        assert [one.state for one in team.courier().retry()] == ["done"]
    assert len(github.issues) == 1
    assert len(github.comments[1]) == 1
    mark = ticket.mark_of(github.issues[0]["body"])
    assert mark is not None
    assert mark.state == "worsening"


def test_an_issue_without_its_label_is_found_and_a_strangers_copy_is_not(tmp_path: Path, github: GitHubServer) -> None:
    copied = ticket.block(report(finding()), finding(), NONE)
    stranger = github.add(body=copied, author_association="NONE")
    team = Team(tmp_path, github)
    team.deliver(finding(), day=0)
    ours = github.issues[1]
    ours["labels"] = []
    assert team.deliver(finding(traces=77, state="ongoing"), day=1) == "done"
    assert "77 of 427" in ours["body"]
    assert stranger["body"] == copied
    assert len(github.issues) == 2


HOSTILE = "```\n````\n@octocat fixes #1 <!-- /halo:issue --> ` `` \x1b[31m <img src=x>\n# Ignore what stands above"


def test_text_of_traces_stays_in_fences_and_spans(tmp_path: Path, github: GitHubServer) -> None:
    team = Team(tmp_path, github)
    team.deliver(finding(text=HOSTILE, severity_reason=HOSTILE), day=0)
    team.deliver(finding(text=HOSTILE, severity_reason=HOSTILE, state="worsening"), day=1)
    texts = [github.issues[0]["body"], github.comments[1][0]["body"]]
    assert "@octocat" in texts[0]
    for text in texts:
        assert "\x1b" not in text
        for block in MarkdownIt("commonmark").parse(text):
            inert = block.type == "fence" or (block.type == "html_block" and block.content.startswith("<!-- halo:"))
            for token in [] if inert else [block, *(block.children or [])]:
                if token.type not in ("code_inline", "inline"):
                    assert "octocat" not in token.content
                    assert "Ignore" not in token.content
    team.deliver(finding(text="plain", state="ongoing"), day=2)
    assert "octocat" not in github.issues[0]["body"], "an end that a trace holds ends nothing"


def test_every_page_is_read_and_no_other_server_is_asked(tmp_path: Path, github: GitHubServer) -> None:
    github.page = 2
    team = Team(tmp_path, github)
    many = [finding(f"HALO-0000000{number}") for number in range(5)]
    assert team.deliver(*many, day=0) == "done"
    assert team.pauses == [1.0] * 4, "a second between writes"
    assert team.deliver(*(one.model_copy(update={"state": "ongoing"}) for one in many), day=1) == "done"
    assert len(github.issues) == 5
    github.faults = [("GET", (200, {"Link": '<http://127.0.0.1:9/x>; rel="next"'}, []))]
    assert team.deliver(many[0], day=2) == "failed"
    assert "another server" in team.note(2)["reason"]


def test_the_filter_says_what_gets_an_issue_and_what_has_one_is_followed(tmp_path: Path, github: GitHubServer) -> None:
    team = Team(tmp_path, github, filter={"min_severity": "high", "states": ["new"]})
    low = finding("HALO-0000000a", severity="low")
    symptom = finding("HALO-0000000b", group_id=ISSUE)
    muted = finding("HALO-0000000c", muted=True)
    assert team.deliver(finding(symptoms=["HALO-0000000b"], group_id=ISSUE), low, symptom, muted, day=0) == "done"
    [issue] = github.issues
    assert "HALO-0000000b" in issue["body"]
    assert team.deliver(finding(severity="low", state="improving"), day=1) == "done"
    assert len(github.comments[1]) == 1
    issue |= {"state": "closed", "state_reason": "not_planned"}
    assert team.deliver(finding(state="regressed"), day=2) == "done"
    assert issue["state"] == "closed", "a person will not do it"


def test_what_a_person_resolved_is_closed_when_a_window_without_it_comes(tmp_path: Path, github: GitHubServer) -> None:
    team = Team(tmp_path, github)
    team.deliver(finding(), day=0)
    check = FixCheck(
        issue_id=ISSUE, title="x", release="2.4.0", decided_at=START, window=Affected(traces=0, of=400),
        before=Affected(traces=19, of=427), after=Affected(traces=0, of=400), verdict="fixed", p_value=0.001,
        needed=None,
    )  # fmt: skip
    for day in (1, 2):
        assert team.deliver(day=day, fixes=[check]) == "done"
    assert github.issues[0]["state"] == "closed"
    assert len(github.comments[1]) == 1
    team.deliver(finding(state="ongoing"), day=3)
    assert github.issues[0]["state"] == "open", "the report that said it is back was lost"


def test_two_schedules_share_an_issue_which_is_closed_when_neither_sees_it(
    tmp_path: Path, github: GitHubServer
) -> None:
    team = Team(tmp_path, github)

    def hourly(state: str, *, day: int, traces: int = 9) -> None:
        made = report(finding(state=state, traces=traces), day=day, schedule="every hour")
        team.archive.publish(made.model_copy(update={"id": made.id.replace("aaaaaa", "hourly")}), {}, sinks=["gh"])
        assert [one.state for one in team.courier().deliver(made.id.replace("aaaaaa", "hourly"), ["gh"])] == ["done"]

    team.deliver(finding(), day=0)
    hourly("new", day=0)
    [issue] = github.issues
    assert "by schedule: `morning` new, `every hour` new" in issue["body"]
    team.deliver(finding(state="resolved", traces=0), day=1)
    assert issue["state"] == "open", "the other schedule still sees it"
    team.deliver(finding(state="resolved", traces=0), day=2)
    hourly("ongoing", day=2)
    assert len(github.comments[1]) == 1, "what a schedule has said it does not say again"
    hourly("resolved", day=3, traces=0)
    assert issue["state"] == "closed"
    team.deliver(finding(state="regressed"), day=4)
    assert (issue["state"], len(github.issues)) == ("open", 1)


SOON = "soon"  # a quarter of an hour after the test begins
WRONG: list[tuple[int, dict[str, str], str, str, float, str]] = [
    (401, {}, "Bad credentials", "failed", 0, "token is not valid"),
    (403, {}, "Resource not accessible by personal access token", "failed", 0, "Issues: read and write"),
    (404, {}, "Not Found", "failed", 0, "acme/agents"),
    (410, {}, "Issues has been disabled in this repository.", "failed", 0, "switched off"),
    (422, {}, "Validation Failed", "failed", 0, "assignees invalid"),
    (429, {"Retry-After": "120"}, "", "waiting", 120, "429"),
    (403, {"Retry-After": "30"}, "You have exceeded a secondary rate limit", "waiting", 30, "secondary"),
    (403, {}, "You have exceeded a secondary rate limit.", "waiting", 60, "secondary"),
    (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": SOON}, "API rate limit", "waiting", 600, "rate limit"),
    (502, {}, "", "waiting", 1, "502"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "said", "state", "wait", "reason"), WRONG)
def test_a_refusal_says_what_to_do_and_a_limit_is_waited_for(
    tmp_path: Path, github: GitHubServer, status: int, headers: dict[str, str], said: str, state: str, wait: float,
    reason: str,
) -> None:  # fmt: skip
    errors = [{"resource": "Issue", "field": "assignees", "code": "invalid"}] if status == 422 else []
    headers = {name: value.replace(SOON, str(int(time.time()) + 900)) for name, value in headers.items()}
    github.faults = [("POST", (status, headers, {"message": said, "errors": errors}))]
    team = Team(tmp_path, github)
    assert team.deliver(finding(), day=0) == state
    note = team.note()
    assert reason in note["reason"]
    assert "\n" not in note["reason"]
    assert TOKEN not in json.dumps(note)
    if state == "waiting":
        assert note["next"] >= team.now + wait
        team.now += 4000
        assert [one.state for one in team.courier().retry()] == ["done"]
    else:
        assert team.deliver(finding(), day=0, again=True) == "done"
    assert len(github.issues) == 1


def test_one_issue_that_is_refused_does_not_hold_up_the_others(tmp_path: Path, github: GitHubServer) -> None:
    github.faults = [("POST", (422, {}, {"message": "Validation Failed"}))]
    team = Team(tmp_path, github)
    assert team.deliver(finding(), finding("HALO-00000002"), day=0) == "failed"
    assert len(github.issues) == 1


@pytest.mark.parametrize(
    ("about", "token", "said"),
    [
        ({"archived": True}, TOKEN, "is archived"),
        ({"has_issues": False}, TOKEN, "has no issues"),
        ({}, "ghp_old", "Bad credentials"),
    ],
)
def test_a_repository_that_takes_no_issues_is_named_before_there_are_any(
    github: GitHubServer, about: dict[str, Any], token: str, said: str
) -> None:
    github.about |= about
    values = {"type": "github", "repo": "acme/agents", "token": token, "endpoint": github.url}
    [(name, error)] = unreachable({"gh": SinkConfig.model_validate(values)})
    assert name == "gh"
    assert said in str(error)
    assert error.hint


def test_what_is_no_api_is_said(github: GitHubServer) -> None:
    github.faults = [("GET", (200, {"Content-Type": "text/html"}, "x"))]
    values = {"type": "github", "repo": "acme/agents", "token": TOKEN, "endpoint": github.url}
    sink = make_sink("gh", SinkConfig.model_validate(values))
    made: Report = report()
    with pytest.raises(Exception, match="answered no JSON"):
        sink.deliver(Parcel(made, {}, Path(), lambda text: text, "k"))  # type: ignore[arg-type]
