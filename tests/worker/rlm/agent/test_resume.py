"""A run that was killed with -9 goes on where its last turn ended, with its variables, and pays nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from halo_worker.rlm import trajectory
from halo_worker.rlm.messages import Usage
from tests.scripted_model import Fault, Request, Say, Scripted
from tests.worker.rlm.conftest import NewSession, task


def code(text: str) -> Say:
    return Say(calls=[("run_code", {"code": text})], input_tokens=1_000, output_tokens=10)


def start(base_url: str, work_dir: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.worker.rlm.agent.resumed_run", base_url, str(work_dir), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_after_kill_9_a_run_goes_on_with_its_variables(scripted_model: Scripted, tmp_path: Path) -> None:
    hanging = [True]

    def script(request: Request) -> Say | Fault:
        done = sum("Traceback" not in text and "stdout" in text for text in request.texts)
        if done == 0:
            return code("found = {'a': [1, 2]}\ndef double(n):\n    return n * 2")
        if done == 1:
            return code("found['b'] = double(3)")
        if done == 2 and hanging[0]:
            return Fault(kind="hang")  # in flight when it is killed
        if done == 2:
            return code("print(found, double(4))")
        return Say(calls=[("final_answer", {"answer": request.texts[-2]})])

    server = scripted_model(script)
    killed = start(server.base_url, tmp_path)
    deadline = time.monotonic() + 20
    while len(server.requests) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.wait(10)
    hanging[0] = False
    before = len(server.requests)
    assert before == 3
    resumed = start(server.base_url, tmp_path, "resume")
    said = json.loads(resumed.communicate(timeout=30)[0])
    assert "{'a': [1, 2], 'b': 6} 8" in said["arguments"]["answer"]
    assert said["turns"] == 4
    assert len(server.requests) == before + 2  # no turn was made twice
    assert said["calls"] == 5  # the attempts of both, also the one that was in flight
    assert said["tokens"] > 3_000
    assert said["first"] > 4  # sequences go on
    lines = [orjson.loads(line) for line in (tmp_path / trajectory.NAME).read_bytes().splitlines()]
    assert [line["kind"] for line in lines].count("agent") == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 99}', b"\xff\x00"])
async def test_a_checkpoint_that_cannot_be_read_begins_anew(
    scripted_model: Scripted, session: NewSession, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "checkpoint.json").write_bytes(content)
    server = scripted_model([Say(calls=[("final_answer", {"answer": "x"})])])
    outcome = await session(server, resume=True).loop(task())
    assert outcome.arguments == {"answer": "x"}


def test_what_a_record_says_was_spent(tmp_path: Path) -> None:
    """A line that a kill cut is passed over, and the next one does not stick to it."""
    path = tmp_path / "trajectory.jsonl"
    path.write_text(
        '{"kind":"asked","call":1,"input_tokens":9}\n{"kind":"asked","call":2,"input_tokens":7}\n'
        '{"kind":"model","call":1,"elapsed":1.5,"input_tokens":10,"output_tokens":2,"cost_usd":0.25}\n{"kind":"mo'
    )
    one = trajectory.Trajectory(path, lambda: 2.0)
    one.write("tool", name="x")
    one.close()
    assert trajectory.spent(path) == (Usage(17, 2, cost_usd=0.25), 2, 2.0)
    assert trajectory.spent(tmp_path / "absent") == (Usage(), 0, 0.0)
