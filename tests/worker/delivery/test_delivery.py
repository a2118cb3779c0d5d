"""Every published report arrives, once where the key is honoured, whatever happens to the sink or to us."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook

from halo_worker.config import RedactionConfig
from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.courier import Courier, make_sink, unreachable
from halo_worker.delivery.redaction import redacted, redactor
from halo_worker.delivery.slack import SlackSink
from halo_worker.display import masked_url
from halo_worker.errors import ConfigError, SinkRefused
from halo_worker.report.archive import Archive
from halo_worker.report.page_data import SCENE_FILE, Glance, Scene
from tests.builders import ORIGIN, SYMPTOM, TRACE, finding, report, span

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Endpoint:
    """A server on loopback that answers what it is told to, then 200, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], str]] = []
        self.asked: list[tuple[str, dict[str, str], str]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                endpoint.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                ok = json.dumps({"ok": True, "ts": f"{len(endpoint.asked)}.0", "channel": "C1"})
                ok = "ok" if "services" in self.path else ok
                status, headers, text = endpoint.answers.pop(0) if endpoint.answers else (200, {}, ok)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


class Desk:
    """An archive with one published report, a courier and a clock that is set by hand."""

    def __init__(self, folder: Path, redaction: dict[str, Any] | None = None, **sinks: dict[str, Any]) -> None:
        self.now = 1_800_000_000.0
        self.archive = Archive(folder / "reports")
        self.report = report(finding(), finding("HALO-00000002", severity="low", state="ongoing"))
        self.sinks = {name: SinkConfig.model_validate(values) for name, values in sinks.items()}
        self.redaction = RedactionConfig.model_validate(redaction or {})
        self.folder = self.archive.publish(self.report, {"report.md": "# x"}, sinks=sinks)

    def courier(self, **options: Any) -> Courier:
        return Courier(self.archive, self.sinks, self.redaction, clock=lambda: self.now, **options)

    def deliver(self, **options: Any) -> list[str]:
        return [one.state for one in self.courier().deliver(self.report.id, list(self.sinks), **options)]

    def retry(self) -> list[str]:
        return [one.state for one in self.courier().retry()]

    def receipt(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / "receipts" / f"{name}.json").read_text())


def test_a_webhook_gets_the_report_signed_and_with_its_key(tmp_path: Path, endpoint: Endpoint) -> None:
    url = f"{endpoint.url}/hook/very-secret"
    desk = Desk(tmp_path, ops={"type": "webhook", "url": url, "secret": SECRET, "headers": {"X-Team": "agents"}})
    assert desk.deliver() == ["done"]
    assert desk.deliver() == ["done"]
    assert desk.retry() == []
    assert len(endpoint.asked) == 1, "a receipt ends it"
    path, headers, body = endpoint.asked[0]
    assert (path, headers["x-team"]) == ("/hook/very-secret", "agents")
    assert headers["idempotency-key"] == headers["webhook-id"] == f"{desk.report.id}-ops"
    assert Webhook(SECRET).verify(body, headers)["id"] == desk.report.id


def test_a_header_of_the_settings_takes_the_place_of_ours(tmp_path: Path, endpoint: Endpoint) -> None:
    headers = {"content-type": "text/plain", "authorization": "Bearer x"}
    desk = Desk(tmp_path, ops={"type": "webhook", "url": endpoint.url, "headers": headers})
    assert desk.deliver() == ["done"]
    assert endpoint.asked[0][1]["content-type"] == "text/plain"
    desk = Desk(tmp_path / "2", ops={"type": "webhook", "url": endpoint.url, "headers": {"x": "ünïcode€"}})
    assert desk.deliver() == ["failed"]
    assert "header" in desk.receipt("ops")["reason"]


@pytest.mark.parametrize("form", ["json", "markdown", "html"])
def test_standard_output_is_a_sink(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    desk = Desk(tmp_path, out={"type": "file", "path": "-", "format": form})
    assert desk.deliver() == ["done"]
    said = capsys.readouterr().out
    assert said.startswith({"json": "{", "markdown": "# ", "html": "<!doctype html>"}[form])
    assert said.endswith("\n")


def test_a_fault_that_passes_is_retried_when_the_sink_asked_for_it(tmp_path: Path, endpoint: Endpoint) -> None:
    desk = Desk(tmp_path, ops={"type": "webhook", "url": endpoint.url})
    endpoint.answers = [(429, {"Retry-After": "120"}, ""), (503, {}, "")]
    assert desk.deliver() == ["waiting"]
    desk.now += 119
    assert desk.retry() == []
    desk.now += 2
    assert desk.retry() == ["waiting"]
    desk.now += 3600
    assert desk.retry() == ["done"]
    assert len({headers["idempotency-key"] for _, headers, _ in endpoint.asked}) == 1


def test_a_sink_that_is_down_for_a_day_gets_its_report(tmp_path: Path) -> None:
    """The schedule of retries outlives an outage of a day; nobody has to notice."""
    down = Endpoint()
    url = f"{down.url}/T0K3N"
    down.close()
    desk = Desk(tmp_path, ops={"type": "webhook", "url": url})
    states = desk.deliver()
    start = desk.now
    while desk.now < start + 86_400:
        desk.now += 600
        states += desk.retry()
    assert set(states) == {"waiting"}
    assert "T0K3N" not in (desk.folder / "receipts" / "ops.json").read_text()


def test_what_is_permanent_is_told_once_and_kept_for_halo_deliver(tmp_path: Path, endpoint: Endpoint) -> None:
    desk = Desk(tmp_path, ops={"type": "webhook", "url": endpoint.url})
    endpoint.answers = [(404, {}, "no such hook")]
    assert desk.deliver() == ["failed"]
    desk.now += 86_400
    assert desk.retry() == []
    assert "404: no such hook" in desk.receipt("ops")["reason"]
    assert desk.deliver(again=True) == ["done"]


def test_a_kill_before_or_in_a_delivery_loses_nothing(tmp_path: Path, endpoint: Endpoint) -> None:
    """Published with the receipt waiting; killed while sending, it is sent again under the same key."""
    desk = Desk(tmp_path, ops={"type": "webhook", "url": endpoint.url})
    assert desk.receipt("ops")["state"] == "waiting", "killed before any delivery"

    class Killed(BaseException):
        pass

    class Dying:
        def __init__(self, sink: Any) -> None:
            self._sink = sink

        def where(self) -> str:
            return self._sink.where()

        def deliver(self, parcel: Any) -> dict[str, Any]:
            self._sink.deliver(parcel)
            raise Killed

    with pytest.raises(Killed):
        desk.courier(make=lambda name, config: Dying(make_sink(name, config))).deliver(desk.report.id, ["ops"])
    assert desk.retry() == ["done"]
    assert len(endpoint.asked) == 2
    assert len({headers["idempotency-key"] for _, headers, _ in endpoint.asked}) == 1


def test_sinks_are_told_what_their_filter_lets_through(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path,
        high={"type": "file", "path": str(tmp_path / "high"), "filter": {"min_severity": "high"}},
        still={"type": "file", "path": str(tmp_path / "still"), "quiet": True, "filter": {"states": ["ongoing"]}},
        page={"type": "file", "path": str(tmp_path / "page"), "format": "html"},
    )
    assert desk.deliver() == ["done", "quiet", "done"]
    told = json.loads((tmp_path / "high" / f"{desk.report.id}.json").read_text())
    assert [one["issue_id"] for one in told["findings"]] == ["HALO-00000001"]
    assert not (tmp_path / "still").exists()
    assert (tmp_path / "page" / f"{desk.report.id}.html").read_text().startswith("<!doctype html>")


def test_a_page_in_a_directory_has_its_waterfall_and_no_secret(tmp_path: Path) -> None:
    """What stands around the findings is masked like the report itself."""
    desk = Desk(tmp_path, page={"type": "file", "path": str(tmp_path / "page"), "format": "html"})
    told = Glance(name="chat", gave="calls login(password=hunter2hunter2)")
    scene = Scene(
        traces={TRACE: [span(ORIGIN, name="ask jane.doe@example.org"), span(SYMPTOM, ORIGIN)]},
        spans={f"{TRACE}/{ORIGIN}": told},
    )
    (desk.folder / SCENE_FILE).write_text(scene.model_dump_json(), encoding="utf-8")
    assert desk.deliver() == ["done"]
    page = (tmp_path / "page" / f"{desk.report.id}.html").read_text()
    assert 'class="wf"' in page
    assert "calls login(password=[redacted]" in page
    assert not [word for word in ("hunter2", "jane.doe") if word in page]


def test_a_template_makes_the_body_and_a_broken_one_says_where(tmp_path: Path, endpoint: Endpoint) -> None:
    template = tmp_path / "body.j2"
    template.write_text('{"text": {{ report.summary|json }}, "n": {{ report.findings|length }}}', encoding="utf-8")
    desk = Desk(tmp_path, ops={"type": "webhook", "url": endpoint.url, "template": str(template)})
    assert desk.deliver() == ["done"]
    assert json.loads(endpoint.asked[0][2])["n"] == 2
    for number, broken in enumerate(("{{ 1 / 0 }}", "{{ report.nothing.more }}", "{{ ''.__class__.__mro__[1] }}")):
        template.write_text(broken, encoding="utf-8")
        desk = Desk(tmp_path / str(number), ops={"type": "webhook", "url": endpoint.url, "template": str(template)})
        assert desk.deliver() == ["failed"]
        assert "template" in desk.receipt("ops")["reason"]
    template.write_text("{% for %}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\[sinks.ops\] template"):
        make_sink("ops", desk.sinks["ops"])


def test_secrets_in_quotes_do_not_leave_the_machine(tmp_path: Path, endpoint: Endpoint) -> None:
    key, mail = "sk-proj-" + "a1B2" * 8, "jane.doe@example.org"
    text = f"refused for {mail} with Authorization: Bearer {key} and case ACME-77"
    desk = Desk(tmp_path, {"patterns": ["ACME-\\d+"]}, ops={"type": "webhook", "url": endpoint.url})
    (desk.folder / "report.json").write_text(report(finding(text=text)).to_json(), encoding="utf-8")
    assert desk.deliver() == ["done"]
    sent = endpoint.asked[0][2]
    assert "[redacted]" in sent
    assert not [word for word in (key, mail, "ACME-77") if word in sent]
    assert key in (desk.folder / "report.json").read_text(), "what stays on the machine stays whole"


def test_a_pattern_that_masks_the_report_itself_is_said(tmp_path: Path, endpoint: Endpoint) -> None:
    desk = Desk(tmp_path, {"patterns": ["\\d+"]}, ops={"type": "webhook", "url": endpoint.url})
    assert desk.deliver() == ["failed"]
    assert "[redaction]" in desk.receipt("ops")["reason"]


def test_slack_by_webhook_says_what_slack_said(tmp_path: Path, endpoint: Endpoint) -> None:
    url = f"{endpoint.url}/services/T000/B000/XXXX"
    desk = Desk(tmp_path, chat={"type": "slack", "url": url, "report_url": "https://example.org/{id}/report.html"})
    endpoint.answers = [(429, {"Retry-After": "30"}, ""), (400, {}, "invalid_blocks")]
    assert desk.deliver() == ["waiting"]
    desk.now += 31
    assert desk.retry() == ["failed"]
    assert "invalid_blocks" in desk.receipt("chat")["reason"]
    assert "XXXX" not in json.dumps(desk.receipt("chat"))
    assert desk.deliver(again=True) == ["done"]
    assert f"https://example.org/{desk.report.id}/report.html" in endpoint.asked[-1][2]


def test_a_bot_goes_on_in_its_thread_after_a_fault(tmp_path: Path, endpoint: Endpoint) -> None:
    """The message is posted once; a rate limit between two replies costs a wait, never a second message."""
    desk = Desk(tmp_path, chat={"type": "slack", "token": "xoxb-1", "channel": "#agents"})

    def make(_: str, config: SinkConfig) -> SlackSink:
        return SlackSink(config, api_url=f"{endpoint.url}/api/")

    ok = json.dumps({"ok": True, "ts": "7.0", "channel": "C1"})
    limited = json.dumps({"ok": False, "error": "ratelimited"})
    endpoint.answers = [(200, {}, ok), (200, {}, ok), (429, {"Retry-After": "10"}, limited)]
    assert [one.state for one in desk.courier(make=make).deliver(desk.report.id, ["chat"])] == ["waiting"]
    desk.now += 11
    assert [one.state for one in desk.courier(make=make).retry()] == ["done"]
    bodies = [json.loads(body) if body.startswith("{") else body for _, _, body in endpoint.asked]
    threads = [body.get("thread_ts") for body in bodies]
    assert threads == [None, "7.0", "7.0", "7.0"]
    assert desk.receipt("chat")["sink"]["replies"] == 2


def test_a_torn_receipt_is_no_receipt(tmp_path: Path) -> None:
    desk = Desk(tmp_path, out={"type": "file", "path": str(tmp_path / "out")})
    (desk.folder / "receipts" / "out.json").write_text('{"state": "wai', encoding="utf-8")
    assert desk.deliver() == ["done"]


def test_two_couriers_send_a_report_once(tmp_path: Path, endpoint: Endpoint) -> None:
    """The run that made it, the worker's retries and `halo deliver` may come at once: a lock for each receipt."""
    desk = Desk(tmp_path, ops={"type": "webhook", "url": endpoint.url})
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def __init__(self, sink: Any) -> None:
            self.deliver = lambda parcel: (inside.set(), go_on.wait(10), sink.deliver(parcel))[2]

    first = desk.courier(make=lambda name, config: Slow(make_sink(name, config)))
    thread = threading.Thread(target=first.deliver, args=(desk.report.id, ["ops"]))
    thread.start()
    assert inside.wait(10)
    assert desk.deliver(again=True) == ["waiting"]
    go_on.set()
    thread.join(10)
    assert desk.deliver() == ["done"]
    assert len(endpoint.asked) == 1


def test_a_stop_ends_the_retries_between_two_sinks(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/never"
    desk = Desk(tmp_path, one={"type": "webhook", "url": url}, two={"type": "webhook", "url": url})
    desk.now += 10**9
    assert desk.courier().retry(stop=lambda: True) == []
    assert len(desk.courier().retry()) == 2


def test_what_is_settled_is_looked_at_again_when_it_changes(tmp_path: Path, endpoint: Endpoint) -> None:
    """`halo deliver` may bring back to waiting what had failed: the courier that runs must see it."""
    desk = Desk(tmp_path, ops={"type": "webhook", "url": endpoint.url})
    endpoint.answers = [(404, {}, "gone"), (503, {}, "")]
    courier = desk.courier()
    assert [one.state for one in courier.deliver(desk.report.id, ["ops"])] == ["failed"]
    assert courier.retry() == []
    assert desk.deliver(again=True) == ["waiting"]
    desk.now += 3600
    assert [one.state for one in courier.retry()] == ["done"]


def test_a_quiet_sink_is_told_of_a_run_that_could_not_look_at_everything(tmp_path: Path) -> None:
    desk = Desk(tmp_path, still={"type": "file", "path": str(tmp_path / "still"), "quiet": True})
    calm = report(finding(state="ongoing"), status="partial", stopped_by="cost")
    (desk.folder / "report.json").write_text(calm.to_json(), encoding="utf-8")
    assert desk.deliver() == ["done"]


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        ({"type": "webhook", "url": "http://127.0.0.1:9/T0K3N/x"}, "cannot be reached"),
        ({"type": "webhook", "url": "http://no-such-host.invalid/T0K3N/x"}, "no-such-host.invalid is not known"),
        ({"type": "slack", "url": "http://127.0.0.1:9/services/T0K3N/x"}, "cannot be reached"),
        ({"type": "file", "path": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_a_sink_that_cannot_be_reached_is_said_with_what_to_do(sink: dict[str, Any], says: str) -> None:
    [(name, error)] = unreachable({"ops": SinkConfig.model_validate(sink)})
    assert name == "ops"
    assert says in str(error)
    assert error.hint
    assert "T0K3N" not in f"{error}{error.hint}"


def test_a_probe_sends_nothing_that_anyone_would_see(endpoint: Endpoint, tmp_path: Path) -> None:
    configs = {
        "hook": {"type": "webhook", "url": endpoint.url},
        "chat": {"type": "slack", "url": f"{endpoint.url}/services/T/B/X"},
        "out": {"type": "file", "path": str(tmp_path)},
        "print": {"type": "file", "path": "-"},
    }
    assert unreachable({name: SinkConfig.model_validate(config) for name, config in configs.items()}) == []
    assert endpoint.asked == []


def test_a_bot_s_token_is_asked_for_its_name_alone(endpoint: Endpoint) -> None:
    sink = SlackSink(
        SinkConfig.model_validate({"type": "slack", "token": "xoxb-1", "channel": "#a"}), api_url=f"{endpoint.url}/api/"
    )
    sink.probe()
    assert [path for path, _, _ in endpoint.asked] == ["/api/auth.test"]
    endpoint.answers = [(200, {}, json.dumps({"ok": False, "error": "invalid_auth"}))]
    with pytest.raises(SinkRefused, match="invalid_auth") as caught:
        sink.probe()
    assert "token" in caught.value.hint


MASK = redactor([])
SECRETS = [
    ("Authorization: Bearer abcdefghijk123", "Authorization: [redacted]"),
    ("authorization: token abcdef12345", "authorization: token [redacted]"),
    ('{"password": "hunter2 and more", "n": 1}', '{"password": "[redacted]", "n": 1}'),
    (r"{\"api_key\": \"abcdef123456\"}", r"{\"api_key\": \"[redacted]\"}"),
    ("OPENAI_API_KEY=abc123def456", "OPENAI_API_KEY=[redacted]"),
    ("sk-proj-abcdefghijklmnop", "[redacted]"),
    ("ghp_abcdefghijklmnopqrst", "[redacted]"),
    ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
    ("postgres://bob:s3cret@db:5432/x", "postgres://[redacted]@db:5432/x"),
    ("https://hooks.slack.com/services/T/B/xyz", "[redacted]"),
    ("GET /x?token=abcdef123&limit=10", "GET /x?token=[redacted]&limit=10"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc+/=\n-----END RSA PRIVATE KEY-----", "[redacted]"),
    ("write to jane.doe@example.org", "write to [redacted]"),
    ("https://ghp_token@github.com/x.git", "https://[redacted]@github.com/x.git"),
    ("https://bob:p@ss@host/x?mail=a@b", "https://[redacted]@host/x?mail=a@b"),
    ("-----BEGIN PRIVATE KEY-----\nMIIabc", "[redacted]"),
    ("-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----\nand then", "[redacted]\nand then"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0", "[redacted]"),
    ("password='it is long: yes'", "password='[redacted]'"),
]
HARMLESS = [
    "total_tokens: 1234567", '"input_tokens": 1234567', "skillfully-written-sentences", "ghost-writing-service",
    "secretary: Mrs Doubtfire", "refund amount 11800.00 exceeds the order total of 118.00 EUR", "a@b is no address",
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), [*SECRETS, *((text, text) for text in HARMLESS)])
def test_secrets_are_masked_and_other_words_are_not(text: str, shown: str) -> None:
    assert MASK(text) == shown


@pytest.mark.parametrize(
    ("pattern", "text", "shown"),
    [
        ("ACME-\\d+", "for ACME-٤٢ and ACME-7", "for [redacted] and [redacted]"),
        ("Frau \\w+", "Frau Müller-Ö", "[redacted]-Ö"),
        ("id=[\\w.]+;", "id=é.x; id=[]", "[redacted] id=[]"),
        ("(a+)+$", "b" + "a" * 100_000, "b[redacted]"),
        ("(\\w+\\s*)+:", "a " * 100_000, "a " * 100_000),
        ("\\[[[\\]]\\S", "x[[ü", "x[redacted]"),
    ],
)
def test_patterns_of_the_settings_know_every_script_and_never_go_back(pattern: str, text: str, shown: str) -> None:
    """Written for Python, they mean what they mean there; they cost one pass, which Python's never end on."""
    assert redactor([pattern])(text) == shown


def test_texts_are_masked_together_as_they_are_alone() -> None:
    """Also what is no text, which a child's answer may hold: a lone half of a pair, a zero."""
    texts = [text for text, _ in SECRETS] + [*HARMLESS, "", "\x00 sk-proj-abcdefghijklmnop", "\ud800", "é" * 5000]
    mask = redactor(["ACME"])
    assert list(mask.all(texts)) == [mask(text) for text in texts]
    assert redacted({"a": [texts[0], 1, None], "b": texts[0]}, mask) == {
        "a": [mask(texts[0]), 1, None],
        "b": mask(texts[0]),
    }
    assert redacted([], mask) == []
    assert redactor([], enabled=False)(texts[0]) == texts[0]


@settings(deadline=None)
@given(st.text(max_size=300))
def test_urls_are_shown_without_what_is_secret(text: str) -> None:
    assert "hunter2" not in masked_url("https://user:hunter2@hooks.example.org:99/services/" + "hunter2?k=hunter2")
    masked_url(text)
    MASK(text)


def test_secrets_are_not_shown_by_the_settings() -> None:
    config = SinkConfig.model_validate({"type": "slack", "token": SecretStr("xoxb-1"), "channel": "#x"})
    assert "xoxb" not in repr(config)
