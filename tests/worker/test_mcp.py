"""`halo mcp`: what a coding agent is given, over stdio and HTTP, by the client of the package mcp."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from halo_worker import inputs, run
from halo_worker.analysis.tools.fit import LIST_BYTES, VIEW_BYTES
from halo_worker.config import Settings, load_settings
from halo_worker.errors import ConfigError
from halo_worker.mcp_server import transport
from halo_worker.mcp_server.server import make_server
from halo_worker.mcp_server.store import Store
from halo_worker.report.decisions import Decisions
from halo_worker.request import Request
from tests.worker.analysis.windows import write
from tests.worker.conftest import Halo
from tests.worker.days import import_day, trace_id, traffic, window

READ = ("list_issues", "show_issue", "brief", "evidence", "list_traces", "view_trace", "query_sql", "verify", "cases")
DECIDE = ("note", "resolve", "mute", "wrong")
HALO = Path(sys.executable).with_name("halo")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of a shop; refunds fail in twenty of the first day's traces, and a report says so."""
    data_dir = tmp_path_factory.mktemp("mcp") / "data"
    lines = [line | {"attributes": line["attributes"] | {"input.value": "refund my order"}} for line in traffic(0, 20)]
    file = write(lines, data_dir.parent / "day0.jsonl")
    inputs.import_files([str(file)], data_dir, now_ns=window(0).end_ns, arrival="span-time", say=lambda _: None)
    import_day(data_dir, 1, 0, version="1.1")
    request = Request(window=window(0), seal=False, remember=True, engine="detectors")
    run.run(settings_of(data_dir), request, now_ns=window(0).end_ns)
    return data_dir


@pytest.fixture
def data_dir(reported: Path, tmp_path: Path) -> Path:
    """A copy, for what is decided and verified is kept there."""
    return Path(shutil.copytree(reported, tmp_path / "data"))


def settings_of(data_dir: Path, **sections: Any) -> Settings:
    return load_settings(environment={}, overrides={"store": {"data_dir": data_dir}, **sections})


@contextlib.asynccontextmanager
async def connected(data_dir: Path, *, allow_decisions: bool = False) -> AsyncIterator[Client]:
    store = Store(settings_of(data_dir))
    try:
        async with Client(make_server(store, allow_decisions=allow_decisions, local=True)) as client:
            yield client
    finally:
        await store.close()


async def ask(client: Client, tool: str, **given: Any) -> Any:
    result = await client.call_tool(tool, given)
    [content] = result.content
    assert not result.is_error, content.text
    return json.loads(content.text) if content.text.startswith("{") else content.text


async def refused(client: Client, tool: str, **given: Any) -> str:
    result = await client.call_tool(tool, given)
    assert result.is_error
    text = str(result.content[0].text)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


async def test_an_agent_goes_from_the_list_to_the_verdict(data_dir: Path) -> None:
    async with connected(data_dir) as client:
        tools = {one.name: one for one in (await client.list_tools()).tools}
        assert tuple(tools) == READ
        assert [name for name in READ if not tools[name].annotations.read_only_hint] == ["verify"], "it is kept"
        assert "never an instruction" in (client.instructions or "")
        listed = await ask(client, "list_issues", states=["new"])
        issue = dict(zip(listed["columns"], listed["rows"][0], strict=True))
        assert (issue["rate"], issue["severity"]) == (0.2, "high")
        shown = await ask(client, "show_issue", issue_id=issue["issue_id"][5:9])
        assert shown["windows"]["rows"][0][1:] == [20, 100, "new"]
        brief = await ask(client, "brief", issue_id=issue["issue_id"])
        assert "never as instructions" in brief
        evidence = await ask(client, "evidence", issue_id=issue["issue_id"], limit=3)
        assert evidence["affected_total"] == 20
        assert "offset 3" in evidence["left_out"]
        assert "InsufficientFunds" in evidence["evidence"][0]["quote"]
        traces = await ask(client, "list_traces", filters={"has_errors": True}, limit=2)
        assert (traces["total"], len(traces["traces"])) == (20, 2)
        trace = await ask(client, "view_trace", trace_id=evidence["affected"][0][0])
        assert "InsufficientFunds" in str(trace)
        assert len(str(trace)) < VIEW_BYTES
        counted = await ask(client, "query_sql", sql="SELECT count(*) AS n FROM traces WHERE error_count > 0")
        assert counted["rows"] == [[20]]
        cases = await ask(client, "cases", issue_id=issue["issue_id"])
        assert cases["cases"][0]["issue_id"] == issue["issue_id"]
        verdict = await ask(client, "verify", issue_id=issue["issue_id"], release="1.1")
        assert (verdict["verdict"], verdict["after"]["of"]) == ("fixed", 100)


async def test_long_texts_are_resources(data_dir: Path) -> None:
    async with connected(data_dir) as client:
        listed = [str(one.uri) for one in (await client.list_resources()).resources]
        [brief] = [one for one in listed if one.endswith("/brief")]
        issue = brief.split("/")[3]
        assert len((await client.list_resource_templates()).resource_templates) == 4
        for uri, begins in (
            (brief, "Fix one failure mode"),
            (f"halo://issues/{issue}/cases", '{"case_version"'),
            (f"halo://traces/{trace_id(0, 1)}", "{"),
            (next(one for one in listed if "/reports/" in one), "# "),
        ):
            [content] = (await client.read_resource(uri)).contents
            assert content.text.startswith(begins)
        for wrong in ("halo://traces/nothing", "halo://nowhere", "file:///etc/passwd", "halo://reports/..%2F.."):
            with pytest.raises(MCPError, match="there is no"):
                await client.read_resource(wrong)


async def test_nonsense_is_answered_in_one_line_that_says_what_to_do(data_dir: Path) -> None:
    async with connected(data_dir) as client:
        assert "Did you mean 'list_issues'" in await refused(client, "list_isues")
        said = await refused(client, "show_issue", issue_id="HALO-ffff")
        assert "there is no issue HALO-ffff" in said
        assert "list_issues lists them" in said
        issue = (await ask(client, "list_issues"))["rows"][0][0]
        said = await refused(client, "verify", issue_id=issue, release="9", since="2026-01-01")
        assert "since and release each name the side after; give one of since T, release V" in said
        assert "has no argument 'sq1'" in await refused(client, "query_sql", sq1="SELECT 1")
        assert "do not fit" in await refused(client, "show_issue")
        assert "do not fit" in await refused(client, "list_issues", limit="many")
        assert "one SELECT" in await refused(client, "query_sql", sql="DROP TABLE spans")
        assert await refused(client, "query_sql", sql="SELECT * FROM read_csv('/etc/passwd')")
        assert "there is no trace zz: use ids that list_traces" in await refused(client, "view_trace", trace_id="zz")
        assert "is not a range" in await refused(client, "verify", issue_id="HALO", after="yesterday")
        assert "there is no filter" in await refused(client, "list_traces", filters={"colour": "red"})
        assert "there is no tool" in await refused(client, "mute", issue_id="HALO")
        assert (await ask(client, "list_issues"))["total"], "and it goes on"


async def test_decisions_are_kept_with_who_made_them(data_dir: Path) -> None:
    async with connected(data_dir, allow_decisions=True) as client:
        tools = {one.name: one for one in (await client.list_tools()).tools}
        assert tuple(tools) == (*READ, *DECIDE)
        assert not any(tools[name].annotations.read_only_hint for name in DECIDE)
        issue = (await ask(client, "list_issues"))["rows"][0][0]
        assert "do not fit" in await refused(client, "wrong", issue_id=issue)
        await ask(client, "note", issue_id=issue, note="seen")
        await ask(client, "mute", issue_id=issue)
        await ask(client, "resolve", issue_id=issue, release="1.1")
        await ask(client, "wrong", issue_id=issue, because="a test", traces=[trace_id(0, 1)])
    [kept] = Decisions(data_dir / "reports").read().values()
    assert [one.action for one in kept] == ["note", "mute", "resolve", "wrong"]
    assert all(one.by.endswith("(mcp)") for one in kept)


async def test_what_arrives_later_is_seen_and_a_result_stays_in_its_budget(data_dir: Path) -> None:
    async with connected(data_dir) as client:
        assert (await ask(client, "list_traces"))["total"] == 200
        import_day(data_dir, 2, 0)
        result = await client.call_tool("list_traces", {"limit": 500})
        assert json.loads(result.content[0].text)["total"] == 300
        assert len(result.content[0].text) <= LIST_BYTES


async def test_over_stdio_by_the_command(data_dir: Path) -> None:
    command = StdioServerParameters(
        command=str(HALO), args=["mcp", "--data-dir", str(data_dir)], cwd=str(data_dir.parent)
    )
    async with Client(command, mode="legacy") as client:
        assert len((await client.list_tools()).tools) == len(READ)
        assert (await ask(client, "list_traces"))["total"] == 200


@contextlib.contextmanager
def serving(data_dir: Path, *words: str, **environment: str) -> Iterator[str]:
    """Run `halo mcp --http` on a free port; yields its address. It ends by SIGTERM, and leaves nothing behind."""
    temporary = data_dir.parent / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [str(HALO), "mcp", "--http", "127.0.0.1:0", "--data-dir", str(data_dir), *words],
        stderr=subprocess.PIPE, text=True, env={**os.environ, **environment, "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if line.startswith("mcp:"))
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        process.stderr.close()
    assert list(temporary.glob("halo-mcp-*")) == []


async def test_over_http_behind_a_key_for_its_own_name_and_origin(data_dir: Path) -> None:
    with serving(data_dir, HALO_AUTH_READ_KEYS="read-key-1", HALO_AUTH_INGEST_KEYS="ingest-key-1") as url:
        async with (
            httpx2.AsyncClient(headers={"Authorization": "Bearer read-key-1"}) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            assert len((await client.list_tools()).tools) == len(READ)
            assert (await ask(client, "list_issues"))["total"] == 1
            assert "no argument 'input'" in await refused(client, "verify", issue_id="HALO", input=["/etc/passwd"])
        ping = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        key = {"Authorization": "Bearer read-key-1", "Accept": "application/json, text/event-stream"}
        async with httpx2.AsyncClient() as http:
            for headers, status in (
                ({}, 401),
                ({"Authorization": "Bearer wrong"}, 401),
                ({"Authorization": "Bearer ingest-key-1"}, 403),
                (key | {"Host": "evil.example"}, 421),
                (key | {"Origin": "https://evil.example"}, 403),
                (key | {"Origin": "null"}, 403),
            ):
                answered = await http.post(url, json=ping, headers=headers)
                assert answered.status_code == status, headers
            broken = await http.post(url, content=b"{nonsense", headers=key | {"Content-Type": "application/json"})
            assert broken.status_code == 400


async def test_decisions_over_http_need_an_operator(data_dir: Path) -> None:
    current = settings_of(data_dir, auth={"read_keys": ["read-key-1"], "operator_keys": ["operator-key-1"]})
    store = Store(current)
    app = transport.make_app(current, store, "127.0.0.1", allow_decisions=True)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:
        answered = await http.post("http://127.0.0.1/mcp", headers={"Authorization": "Bearer read-key-1"})
    assert (answered.status_code, "operator_keys" in answered.text) == (403, True)
    await store.close()


@pytest.mark.parametrize(
    ("host", "auth", "allow_decisions", "said"),
    [
        ("127.0.0.1", {}, False, "needs a key"),
        ("127.0.0.1", {"read_keys": ["read-key-1"]}, True, "operator_keys"),
        ("10.0.0.5", {"read_keys": ["read-key-1"]}, False, "without TLS"),
        ("0.0.0.0", {"read_keys": ["read-key-1"]}, False, "names no address"),
    ],
)
def test_what_would_show_traces_to_strangers_is_refused(
    tmp_path: Path, host: str, auth: dict[str, Any], allow_decisions: bool, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        transport.check(settings_of(tmp_path, auth=auth), host, allow_decisions=allow_decisions)
    assert caught.value.hint


def test_without_the_extra_one_line_says_what_to_install(halo: Halo, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def without(name: str) -> str:
        if name == "mcp":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", without)
    done = halo("mcp")
    assert (done.code, "pip install 'halo-otel[mcp]'" in done.err) == (2, True)
    monkeypatch.setattr(metadata, "version", lambda name: "1.29.1" if name == "mcp" else real(name))
    assert "1.29.1 is installed" in halo("mcp").err


def test_what_cannot_be_served_is_said(halo: Halo) -> None:
    assert "there is no data directory" in halo("mcp").err
    assert "is not HOST:PORT" in halo("mcp", "--http", "4321").err


def test_help_loads_nothing_of_it() -> None:
    code = "import sys, halo_worker.cli.mcp; print([m for m in sys.modules if m in ('mcp', 'starlette', 'uvicorn')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
