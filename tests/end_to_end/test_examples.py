"""The examples, run as they lie there against a scripted model, where their packages install (`.ci/run`)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from halo_worker.analysis.detectors.capture import how
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import Halo, Service, environment
from tests.end_to_end.test_peers import peers
from tests.scripted_model import Request, Say, ScriptedModel

EXAMPLES = REPOSITORY / "examples"
NEEDS = {
    "connect/openinference_openai.py": "openinference.instrumentation.openai",
    "connect/otel_openai_v2.py": "opentelemetry.instrumentation.openai_v2",
    "connect/langgraph_agent.py": "openinference.instrumentation.langchain",
    "agent-python/agent.py": "opentelemetry.sdk",
    "connect/vercel.mjs": "ai",
    "agent-typescript/agent.ts": "tsx",
}
ANSWER = "It was shipped on Monday."
TOOLS = ("agent-python/agent.py", "agent-typescript/agent.ts")


def says(request: Request) -> Say:
    """Ask for the tool where there is one, and answer what it returned."""
    if request.tools and "shipped" not in request.last:
        return Say(calls=[("lookup_order", {"number": "17"})])
    return Say(ANSWER)


def command(example: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return how an example is started, with what is installed for it; skip where that is missing."""
    path, installed = EXAMPLES / example, peers()
    missing = f"SKIPPED, {example} is not tested: {NEEDS[example]} is not in {installed} (.ci/run installs it)"
    if path.suffix == ".py":
        more = {"PYTHONPATH": str(installed / "python")}
        found = subprocess.run(
            [sys.executable, "-c", f"import {NEEDS[example]}"],
            env=environment() | more,
            capture_output=True,
            check=False,
        )
        if found.returncode:
            pytest.skip(missing)
        return [sys.executable, str(path)], more
    if shutil.which("node") is None or not (installed / "node_modules" / NEEDS[example]).is_dir():
        pytest.skip(missing)
    # Modules are found from where a file lies.
    copied = shutil.copy(path, folder / f"{path.stem}.{'mts' if path.suffix == '.ts' else 'mjs'}")
    (folder / "node_modules").symlink_to(installed / "node_modules")
    runner = [str(installed / "node_modules" / ".bin" / "tsx")] if path.suffix == ".ts" else ["node"]
    return [*runner, str(copied)], {}


@pytest.mark.peer
@pytest.mark.parametrize("example", NEEDS)
def test_an_example_sends_what_halo_understands(halo: Halo, receiver: Service, tmp_path: Path, example: str) -> None:
    started, more = command(example, tmp_path)
    address = receiver.address()
    assert address
    with ScriptedModel(says) as model:
        done = subprocess.run(
            started, capture_output=True, timeout=120, check=False, cwd=tmp_path,
            env={
                **environment(), **more, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": model.base_url,
                "OTEL_SERVICE_NAME": "support-api", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address['grpc']}",
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
            },
        )  # fmt: skip
    assert (done.returncode, ANSWER in done.stdout.decode()) == (0, True), done.stderr.decode()
    [call, *_] = halo.query("SELECT * FROM spans WHERE span_type = 'llm' ORDER BY start_time DESC LIMIT 1")
    assert (call["service_name"], call["model"]) == ("support-api", "gpt-5.4-mini")
    assert ANSWER in call["output_text"]
    assert call["input_tokens"]
    if example in TOOLS:
        [tool] = halo.query("SELECT * FROM spans WHERE span_type = 'tool'")
        assert (tool["tool_name"], "17" in tool["input_text"]) == ("lookup_order", True)
        assert "Monday" in tool["output_text"]
        assert call["agent_name"] == "support-agent"
    if example == "connect/vercel.mjs":
        [agent] = halo.query("SELECT * FROM spans WHERE span_type = 'agent'")
        said = (agent["convention"], agent["agent_name"], agent["session_id"], agent["user_id"])
        assert said == ("vercel_ai_7", "support-agent", "chat-42", "user-7")


def test_the_settings_of_claude_code_are_those_that_doctor_tells() -> None:
    """Claude Code itself is not run: it wants an account. What its spans look like is in the recorded conventions."""
    text = (EXAMPLES / "connect" / "claude_code.sh").read_text(encoding="utf-8")
    set_here = set(re.findall(r"(\w+)=1", text))
    told = {name for said in how()["claude_code"].values() for name in re.findall(r"(OTEL_\w+)=1", said)}
    assert told <= set_here
