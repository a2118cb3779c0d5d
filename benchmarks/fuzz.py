"""Every parser that takes a stranger's bytes, under atheris: inputs tried, and what it raised that it does not declare.

`python -m benchmarks.fuzz [SECONDS] [--corpus FOLDER] [PARSER …]`: SECONDS of CPU for each parser of tests/parsers.py
(default 60), in a process of its own, guided by coverage. With --corpus the inputs found and the seconds spent are kept
in FOLDER, and a later run goes on from there until SECONDS are spent in all: the parser with the fewest is taken first.
Needs `pip install atheris` (wheels for Linux). An input that a parser fails on is printed as a Python literal, to
become a sample or a test. Exits 1 when there is one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RSS_MIB = 2048  # of one process; more is a finding
INPUT_BYTES = 4096
STILL_SECONDS = 60  # on the clock, on one input; more is a finding (the cores may be shared)
STEP_SECONDS = 300  # on the clock, between two looks at the CPU spent

_CHILD = """
import sys
import atheris
with atheris.instrument_imports(include=["halo_receiver", "halo_worker"]):
    from tests.parsers import PARSERS
parser = PARSERS[sys.argv.pop(1)]
def one(body):
    try:
        parser.read(body)
    except parser.refuses:
        pass
    except BaseException:
        print("FAILED ON", repr(body)[:4000], flush=True)
        raise
atheris.Setup(sys.argv, one)
atheris.Fuzz()
"""


def fuzz(name: str, corpus: Path, seconds: int) -> tuple[int, str]:
    """Fuzz one parser for `seconds` on the clock; return how many inputs were tried, and what it failed on, or ""."""
    flags = [f"-max_total_time={seconds}", f"-rss_limit_mb={RSS_MIB}", f"-max_len={INPUT_BYTES}"]
    flags += [f"-timeout={STILL_SECONDS}", f"-artifact_prefix={corpus.parent}/", "-print_final_stats=1", str(corpus)]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, name, *flags], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    tried = re.search(r"number_of_executed_units: (\d+)", said)
    failing = re.search(r"^FAILED ON (.*)$", said, re.MULTILINE)
    why = "" if done.returncode == 0 else (failing[1] if failing else said[-1000:])
    return int(tried[1]) if tried else 0, why


def _cpu_of_children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def fuzz_all(parsers: dict[str, tuple[bytes, ...]], seconds: float, folder: Path) -> bool:
    """Fuzz parsers (samples by name) until each has had `seconds` of CPU or failed; return whether none failed."""
    ledger = folder / "spent.json"
    spent = json.loads(ledger.read_text()) if ledger.exists() else {}
    left = {}
    for name, samples in parsers.items():
        left[name] = spent.setdefault(name, {"cpu_seconds": 0.0, "inputs": 0, "failed_on": ""})
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, sample in enumerate(samples):
            (folder / name / f"sample-{number}").write_bytes(sample)
        left[name]["failed_on"] = ""
    while left:
        name, of = min(left.items(), key=lambda item: item[1]["cpu_seconds"])
        before = _cpu_of_children()
        if of["cpu_seconds"] < seconds:
            step = max(1, int(min(STEP_SECONDS, seconds - of["cpu_seconds"])))
            tried, of["failed_on"] = fuzz(name, folder / name, step)
            of["inputs"] += tried
            of["cpu_seconds"] += _cpu_of_children() - before
            ledger.write_text(json.dumps(spent, indent=1))
        if of["failed_on"] or of["cpu_seconds"] >= seconds:
            said = of["failed_on"] or "nothing it does not declare"
            print(f"| {name} | {of['cpu_seconds']:,.0f} s | {of['inputs']:,} inputs | {said} |", flush=True)
            del left[name]
    return not any(spent[name]["failed_on"] for name in parsers)


def main() -> int:
    """Fuzz the parsers that are named, or all, and print a table."""
    if importlib.util.find_spec("atheris") is None:
        print("!! NOT INSTALLED: atheris; nothing was fuzzed (pip install atheris)")
        return 0
    from tests.parsers import PARSERS

    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--corpus", type=Path, help="folder that keeps inputs and seconds spent between runs")
    words.add_argument("words", nargs="*", metavar="SECONDS|PARSER", help="seconds of CPU a parser, names of parsers")
    told = words.parse_intermixed_args()
    named = [word for word in told.words if not word.isdigit()]
    seconds = next((int(word) for word in told.words if word.isdigit()), 60)
    if unknown := set(named) - set(PARSERS):
        words.error(f"no parser {', '.join(sorted(unknown))}; there are: {', '.join(PARSERS)}")
    chosen = {name: parser.samples for name, parser in PARSERS.items() if not named or name in named}
    with tempfile.TemporaryDirectory(prefix="halo-fuzz-") as passing:
        return 0 if fuzz_all(chosen, seconds, told.corpus or Path(passing)) else 1


if __name__ == "__main__":
    sys.exit(main())
