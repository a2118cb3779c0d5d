"""Odd surroundings: proxies, terminals without Unicode, both families of addresses, traces that are no trees."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from halo_worker.cli import main
from halo_worker.rlm.messages import Message
from halo_worker.rlm.provider.openai_model import OpenAIModel
from tests.end_to_end.conftest import HALO, Halo, environment, free_port
from tests.fixtures_receiver import ReceiverProcess, trace_request
from tests.scripted_model import Say, Scripted

PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "all_proxy")


@pytest.fixture
def halo(tmp_path: Path) -> Halo:
    return Halo(tmp_path, tmp_path / "data")


def run(halo: Halo, *words: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    bare = {name: value for name, value in environment().items() if "proxy" not in name.lower()}
    return subprocess.run(
        [*HALO, *words, "--data-dir", str(halo.data_dir)], cwd=halo.directory, env=bare | more, capture_output=True,
        timeout=120, check=False,
    )  # fmt: skip


def test_a_proxy_of_the_environment_is_not_asked_for_what_is_on_this_machine(halo: Halo) -> None:
    dead = dict.fromkeys(PROXIES, f"http://127.0.0.1:{free_port()}")
    receiver = ReceiverProcess(halo.data_dir)
    try:
        receiver.export(trace_request((1, 1)))
        shown = run(halo, "traces", "--format", "json", **dead)
        doctor = run(halo, "doctor", "--format", "json", **dead)
    finally:
        receiver.kill()
    assert (len(json.loads(shown.stdout)), shown.stderr) == (1, b"")
    assert {row["state"] for row in json.loads(doctor.stdout) if row["check"] == "receiver"} == {"ok"}


def test_what_the_environment_keeps_from_the_proxy_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries look at one of the two names alone: what one of them has must not be hidden by the other."""
    monkeypatch.setenv("NO_PROXY", "corp.example, 10.0.0.1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(SystemExit):
        main(["--version"])
    kept = "corp.example,10.0.0.1,localhost,127.0.0.1,::1"
    assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == (kept, kept)


async def test_a_model_on_this_machine_is_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, scripted_model: Scripted
) -> None:
    """Also from a program that calls the engine, whose environment is its own."""
    for name in PROXIES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    model = OpenAIModel("m", base_url=scripted_model([Say("hello")]).base_url, api_key="none")
    assert (await model.ask([Message("user", "Say hello.")])).content == "hello"
    await model.close()


@pytest.mark.parametrize("coding", ["ascii", "latin-1"])
def test_a_terminal_without_the_characters_is_shown_escapes(halo: Halo, coding: str) -> None:
    span = {
        "traceId": f"{1:032x}", "spanId": f"{1:016x}", "name": "名前 \u20ac", "startTimeUnixNano": "1",
        "endTimeUnixNano": "2", "status": {"code": 2, "message": "エラー"},
    }  # fmt: skip
    (halo.directory / "spans.json").write_text(
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}), encoding="utf-8"
    )
    run(halo, "import", "spans.json")
    for words in (["trace", f"{1:032x}"], ["traces"], ["query", "SELECT name FROM spans"], ["doctor"]):
        done = run(halo, *words, PYTHONIOENCODING=coding)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode()
        assert words == ["doctor"] or rb"\u540d\u524d" in done.stdout


def drawn(halo: Halo, parents: dict[int, int | None]) -> list[str]:
    """The lines of `halo trace` for a trace of such spans, by number."""
    spans = [
        {
            "traceId": f"{1:032x}", "spanId": f"{number:016x}", "name": f"step{number:05d}", "endTimeUnixNano": "9",
            "startTimeUnixNano": str(number), "parentSpanId": f"{parent:016x}" if parent else "",
        }
        for number, parent in parents.items()
    ]  # fmt: skip
    (halo.directory / "spans.json").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))
    run(halo, "import", "spans.json")
    done = run(halo, "trace", f"{1:032x}")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()[1:]


def numbers(lines: list[str]) -> list[int]:
    return [int(found) for line in lines for found in re.findall(r"step(\d{5})", line)]


def test_every_span_of_a_very_deep_trace_is_drawn_once(halo: Halo) -> None:
    lines = drawn(halo, {number: number - 1 or None for number in range(1, 1001)})
    assert numbers(lines) == list(range(1, 1001))
    assert "(level 1000, parent 00000000000003e7)" in lines[-1]


@pytest.mark.parametrize(
    "parents",
    [{1: 1, 2: 3, 3: 2}, {1: None, 2: 4, 3: 2, 4: 3, 5: 4}, {1: 2, 2: 1, 3: 1, 4: 3}],
    ids=["its own parent", "a circle beside a root", "a tail on a circle"],
)
def test_every_span_of_a_circle_of_parents_is_drawn_once(halo: Halo, parents: dict[int, int | None]) -> None:
    lines = drawn(halo, parents)
    assert sorted(numbers(lines)) == sorted(parents)
    assert any("its parents form a circle" in line for line in lines)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6 with both families")
def test_an_address_of_all_families_serves_both_on_both_transports(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data", "--grpc-endpoint", "[::]:0", "--http-endpoint", "[::]:0")
    try:
        ports = [int(str(receiver.address[name]).rpartition(":")[2]) for name in ("grpc", "http")]
        for host in ("127.0.0.1", "::1"):
            for port in ports:
                socket.create_connection((host, port), timeout=10).close()
    finally:
        receiver.kill()
