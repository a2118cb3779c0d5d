"""The first sentence of a report: what each shape of report begins with, and what is left out where it is not known."""

# ruff: noqa: E501 - a case reads best on one line

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from markdown_it import MarkdownIt

from halo_worker.links import Links
from halo_worker.report import headline, markdown, phrases, slack, terminal
from halo_worker.report.facts import Calls, Common, Impact, Place, ToldOtherwise
from halo_worker.report.html import render_html
from halo_worker.report.markdown import render_markdown
from halo_worker.report.model import Breakdown, Coverage, DetectorOff, Finding, Report, RunOutcome, Totals
from tests.builders import DAY, START, finding, report

SINCE = START + DAY // 2  # Tue 18:00
RATIO = Common(
    kind="ratio", name="amount", value="order total", affected=14, affected_of=14, others=0, others_of=27, ratio=100.0,
    example=("11800", "118.00"), rejected=True,
)  # fmt: skip


def refund(**changes: Any) -> Finding:
    facts: dict[str, Any] = {
        "traces": 14, "title": "issue_refund fails", "seen_from": SINCE, "first_seen": SINCE, "breakdown": [],
        "calls": Calls(name="issue_refund", affected=14, of=41, error="refund amount … exceeds the order total"),
        "place": Place(tool="issue_refund", agent="support-agent", version="2.4.0", only_version=True),
        "told_otherwise": ToldOtherwise(users=11, traces=14), "common": [RATIO],
    }  # fmt: skip
    return finding(**(facts | changes))


def mode(title: str, **changes: Any) -> Finding:
    return finding(**({"title": title, "seen_from": SINCE, "first_seen": SINCE, "breakdown": []} | changes))


def agents(traces: int, of: int, *names: str) -> list[Breakdown]:
    return [Breakdown(dimension="agent", value=name, traces=traces, of=of, rate=traces / of) for name in names]


def later(*findings: Finding, **changes: Any) -> Report:
    return report(*findings, **({"first_window": False} | changes))


def capture(off: int, *, outcome: str = "ok", basis: str | None = "recorded", **changes: Any) -> Report:
    """A report of a window of which `off` of 47 checks see nothing."""
    return report(
        coverage=Coverage(traces=427, traces_examined=427, detectors=47, detectors_off=[DetectorOff(name=f"d{n}", lacks=["message content"]) for n in range(off)]),
        totals=Totals(traces=427, outcomes=[RunOutcome(outcome=outcome, basis=basis, traces=427)]),
        **changes,
    )  # fmt: skip


EMPTY = "handbook-assistant answers from an empty retrieval"
HANDBOOK = {"place": Place(agent="handbook-assistant"), "breakdown": agents(5, 120, "handbook-assistant"), "traces": 5}
LIMIT = {"title": "gpt-4.1-mini is rate-limited", "calls": Calls(name="gpt-4.1-mini", kind="model", affected=5, of=200, error="HTTP 429"),
         "common": [], "told_otherwise": None, "place": Place(agent="desk")}  # fmt: skip

SHAPES: list[tuple[str, Report, str]] = [
    ("everything is known", later(refund()), "Since Tue 18:00 issue_refund fails in support-agent 2.4.0: 14 of 41 calls (amount 100 times the order total); 11 users were told it succeeded."),
    ("no ratio: what the errors say", later(refund(common=[])), "Since Tue 18:00 issue_refund fails in support-agent 2.4.0: 14 of 41 calls (refund amount … exceeds the order total); 11 users were told it succeeded."),
    ("users are not known", later(refund(told_otherwise=ToldOtherwise(traces=14), common=[])), "Since Tue 18:00 issue_refund fails in support-agent 2.4.0: 14 of 41 calls (refund amount … exceeds the order total); 14 answers said it succeeded."),
    ("one user, nothing said of why", later(refund(told_otherwise=ToldOtherwise(users=1, traces=1), common=[], calls=Calls(name="issue_refund", affected=1, of=1))), "Since Tue 18:00 issue_refund fails in support-agent 2.4.0: 1 of 1 call; 1 user was told it succeeded."),
    ("nobody was told, no version", later(refund(told_otherwise=None, common=[], place=Place(agent="support-agent"), calls=Calls(name="issue_refund", affected=14, of=41))), "Since Tue 18:00 issue_refund fails in support-agent: 14 of 41 calls."),
    ("no place", later(refund(told_otherwise=None, place=None)), "Since Tue 18:00 issue_refund fails: 14 of 41 calls (amount 100 times the order total)."),
    ("only a version", later(refund(told_otherwise=None, place=Place(version="2.4.0", only_version=True))), "Since Tue 18:00 issue_refund fails in 2.4.0: 14 of 41 calls (amount 100 times the order total)."),
    ("a first window does not know since when", report(refund(told_otherwise=None)), "issue_refund fails in support-agent 2.4.0: 14 of 41 calls (amount 100 times the order total)."),
    ("a first window in which it began", report(refund(told_otherwise=None, common=[RATIO, Common(kind="since", affected=14, affected_of=14, others=20, others_of=20, at=SINCE)])), "Since Tue 18:00 issue_refund fails in support-agent 2.4.0: 14 of 41 calls"),
    ("it is back", later(refund(state="regressed", first_seen=START - 3 * DAY, told_otherwise=None)), "Since Tue 18:00 issue_refund fails again in support-agent 2.4.0: 14 of 41 calls"),
    ("ongoing for long", later(refund(state="ongoing", first_seen=START - 12 * DAY, told_otherwise=None)), "Since 12 Nov issue_refund fails in support-agent 2.4.0: 14 of 41 calls"),
    ("without calls: of the agent's traces", later(mode(EMPTY, **HANDBOOK)), "Since Tue 18:00 handbook-assistant answers from an empty retrieval: 5 of 120 traces."),
    ("without an agent: of all traces", later(mode("The model calls apply_patch, a tool that does not exist", traces=6)), "Since Tue 18:00 the model calls apply_patch, a tool that does not exist: 6 of 427 traces."),
    ("a model is rate-limited", later(refund(**LIMIT)), "Since Tue 18:00 gpt-4.1-mini is rate-limited in desk: 5 of 200 calls (HTTP 429)."),
    ("a model's own title stays as it is", later(mode("Refunds are asked for in cents", source="rlm", detector=None, traces=14)), "Refunds are asked for in cents: 14 of 427 traces since Tue 18:00."),
    ("ongoing and moderate alone", later(mode(EMPTY, state="ongoing", severity="medium", **HANDBOOK)), "Nothing new or severe; since Tue 18:00 handbook-assistant answers from an empty retrieval: 5 of 120 traces."),
    ("what is open leads, though less is affected", later(finding("HALO-00000002", title="agent repeats the same answer", state="ongoing", severity="medium", traces=90), refund(severity="medium", told_otherwise=None)), "Since Tue 18:00 issue_refund fails"),
    ("nothing was found", later(totals=Totals(traces=427)), "No failure modes found in 427 traces."),
    ("nothing was found in a part", later(totals=Totals(traces=427), coverage=Coverage(traces=427, traces_examined=50)), "No failure modes found in the 50 of 427 traces that were examined."),
    ("what was found is resolved", later(refund(state="resolved", calls=None, common=[], traces=0), totals=Totals(traces=427)), "No failure modes found in 427 traces; resolved: issue_refund fails."),
    ("all is muted", later(refund(muted=True), totals=Totals(traces=427, affected_traces=14, muted_traces=14)), "No other failure modes found in 427 traces; 1 muted (14 traces)."),
    ("no traffic", report(totals=Totals()), "No agent traffic in this window."),
    ("few checks can see", capture(30), "Could not judge these 427 traces: 30 of 47 checks are off: message content is not captured."),
    ("no outcome is known", capture(0, outcome="unknown", basis=None), "Could not judge these 427 traces: no root status, evaluation or feedback says how a run ended."),
    ("something was found where little can be seen", capture(30, findings=[refund(told_otherwise=None)], first_window=False), "Since Tue 18:00 issue_refund fails in support-agent 2.4.0: 14 of 41 calls (amount 100 times the order total). Could not judge the rest: 30 of 47 checks are off: message content is not captured."),
    ("a part of a report keeps the sentence of all of it", later(headline="Since Mon issue_refund fails."), "Since Mon issue_refund fails."),
]  # fmt: skip


@pytest.mark.parametrize(("made", "begins"), [shape[1:] for shape in SHAPES], ids=[shape[0] for shape in SHAPES])
def test_the_sentence_that_a_report_begins_with(made: Report, begins: str) -> None:
    """Also after report.json was written and read, and at the start of every form."""
    again = Report.model_validate_json(made.to_json())
    assert again == made
    assert headline.headline(again).startswith(begins)
    assert render_markdown(again).splitlines()[0].replace("\\", "").startswith(f"# {begins}")
    assert slack.message(again)[0].startswith(begins)
    assert " ".join(terminal.summary(again).split()).startswith(begins)


def test_a_report_of_an_earlier_build_has_a_sentence_too() -> None:
    """Without any of the facts, and without saying whether it is a first window."""
    old = json.loads(report(finding(title="issue_refund fails", state="ongoing")).to_json())
    for name in ("calls", "place", "told_otherwise", "common", "impact", "seen_from", "absent_windows"):
        del old["findings"][0][name]
    del old["first_window"]
    assert headline.headline(Report.model_validate(old)) == "Since Tue 06:00 issue_refund fails: 19 of 427 traces."


def test_what_could_not_be_judged_is_never_called_free_of_failures() -> None:
    for made in (capture(30), capture(47), capture(0, outcome="unknown", basis=None)):
        for form in (render_html(made), render_markdown(made), json.dumps(slack.message(made))):
            assert "No failure modes" not in form
            assert "Could not judge" in form
    assert headline.headline(capture(10)).startswith("No failure modes found")


ROWS = later(
    refund(group_id="HALO-00000001", symptoms=["HALO-00000009"]),
    finding("HALO-00000009", title="support-agent claims refunds it did not make", traces=14, group_id="HALO-00000001"),
    mode(EMPTY, issue_id="HALO-00000002", state="regressed", absent_windows=2, **HANDBOOK),
    mode("researcher and analyst hand the task back and forth", issue_id="HALO-00000003", state="ongoing", traces=5, breakdown=agents(5, 69, "desk"), impact=Impact(tokens=47_000, seconds=120, cost_usd=0.1)),
    mode("agent repeats the same answer", issue_id="HALO-00000004", state="ongoing", severity="medium", traces=3),
    mode("track_shipment times out", issue_id="HALO-00000005", state="resolved", traces=0),
    totals=Totals(traces=427, affected_traces=56, cost_usd=1.06, affected_cost_usd=0.25, duration_p50_ns=2_400_000_000, duration_p95_ns=12_500_000_000),
)  # fmt: skip
FIRST_SCREEN = """\
Since Tue 18:00 issue_refund fails in support-agent 2.4.0: 14 of 41 calls
(amount 100 times the order total); 11 users were told it succeeded.

1  issue_refund rejects amounts 100 times the order total (11800 for 118.00)
   new · 14 of 41 refunds · only in 2.4.0 · 11 users told otherwise
   also seen as: claims refunds it did not make (14)
2  handbook-assistant answers from an empty retrieval
   regressed · 5 of 120 traces · absent for 2 days
3  researcher and analyst hand the task back and forth
   ongoing · 5 of 69 traces · 24.0 s and 9,400 tokens each
   1 more, lower · resolved: track_shipment times out

427 traces, 13 % affected · $0.25 of $1.06 spent on affected runs · p50 2.4 s,
p95 12.5 s"""


def test_the_first_screen_of_a_terminal() -> None:
    assert terminal.summary(ROWS) == FIRST_SCREEN
    assert max(map(len, terminal.summary(ROWS, width=40).splitlines())) <= 40


def test_what_is_new_back_or_severe_is_open_and_the_rest_is_folded() -> None:
    shown, folded = headline.unfolded(ROWS)
    assert [one.issue_id[-1] for one in shown] == ["1", "2", "3"]
    assert [one.issue_id[-1] for one in folded] == ["9", "4", "5"]
    page = render_html(ROWS)
    assert page.count('<details class="card finding') == 6
    for one in (*shown, *folded):
        assert (f'id="{one.issue_id}" open>' in page) is (one in shown), one.issue_id
    in_first = [refund(severity=level, issue_id=f"HALO-0000000{n}") for n, level in enumerate(("low", "medium", "high", "critical"))]  # fmt: skip
    shown, _ = headline.unfolded(report(*in_first, first_window=True))
    assert {one.severity for one in shown} == {"high", "critical"}
    assert len(headline.unfolded(report(*in_first, first_window=False))[0]) == 4


def test_slack_has_names_as_they_are_a_link_and_a_button() -> None:
    links = Links(report_url="https://halo.example/{id}", issue_url="https://bugs.example/?q={issue_id}")
    made = later(refund(calls=Calls(name="book_flight", affected=3, of=9), title="book_flight fails", common=[]))
    text, blocks = slack.message(made, links=links)
    assert text.startswith("Since Tue 18:00 book_flight fails in support-agent 2.4.0: 3 of 9 calls;")
    assert blocks[1]["text"]["text"].startswith("Since Tue 18:00 `book_flight` fails in `support-agent` 2.4.0: 3 of 9")
    [button] = next(block for block in blocks if block["type"] == "actions")["elements"]
    assert (button["type"], button["url"]) == ("button", f"https://halo.example/{made.id}")
    written = json.dumps(blocks, ensure_ascii=False)
    assert "ˍ" not in written
    assert f"<https://halo.example/{made.id}|Full report>" in written
    assert "<https://bugs.example/?q=HALO-00000001|HALO-00000001>" in written
    assert not any(block["type"] == "actions" for block in slack.message(made)[1]), "no address, no button"


@pytest.mark.parametrize("hostile", ["a_b`<!channel>`", "`a_b` <https://evil.example|x>", "_a_ *b*", "x`y_z"])
def test_no_name_leaves_its_code_span(hostile: str) -> None:
    made = later(refund(title=f"{hostile} fails", calls=Calls(name=hostile, affected=3, of=9), common=[]))
    shown = slack.message(made)[1][1]["text"]["text"]
    assert not any(mark in shown for mark in "<>*")
    assert shown.count("`") % 2 == 0
    assert "_" not in "".join(shown.split("`")[::2]), "outside of code spans nothing is markup"


def test_links_lead_out_and_hold_nothing_but_ids() -> None:
    links = Links(trace_url="https://jaeger.example/trace/{trace_id}?span={span_id}", issue_url="https://bugs.example/{issue_id}")  # fmt: skip
    page = render_html(later(refund()), links=links)
    assert f'href="https://jaeger.example/trace/{"a" * 32}?span={"c" * 16}"' in page
    assert 'href="https://bugs.example/HALO-00000001"' in page
    assert 'href="https://' not in render_html(later(refund()))
    assert links.to_trace('"><script>', "a/b") == "https://jaeger.example/trace/%22%3E%3Cscript%3E?span=a%2Fb"
    for wrong in ("javascript:{issue_id}", "https://x.example/", "https://x.example/{id}", "https://x/{issue_id} "):
        with pytest.raises(ValueError):
            Links(issue_url=wrong)


@pytest.mark.parametrize(
    ("tool", "made"),
    [
        ("issue_refund", "refunds"), ("send_email", "emails"), ("createTicket", "tickets"), ("submit_entry", "entries"),
        ("get_balance", None), ("book_flight", None), ("issue_refund_now", None), ("refund", None), ("send_sms", None),
        ("create_data", None), ("update_address", None), ("issue", None), ("", None),
    ],
)  # fmt: skip
def test_calls_have_a_noun_only_where_the_name_says_what_they_make(tool: str, made: str | None) -> None:
    assert phrases.made_by(tool) == made


@pytest.mark.parametrize(
    ("ratio", "said"), [(100.0, "100 times"), (0.01, "1/100 of"), (2.2046, "2.2 times"), (1000, "1,000 times"), (0.453, "0.453 times")],
)  # fmt: skip
def test_multiples_are_said_as_people_do(ratio: float, said: str) -> None:
    assert phrases.times(ratio) == said


def test_no_text_becomes_markup_and_names_of_tools_stay_as_they_are() -> None:
    assert markdown.escaped("issue_refund → lookup_order") == "issue_refund → lookup_order"
    texts = ("".join(some) for length in range(1, 6) for some in itertools.product("a_ *", repeat=length))
    assert not [text for text in texts if "<" in MarkdownIt().renderInline(markdown.escaped(text.strip()))]
