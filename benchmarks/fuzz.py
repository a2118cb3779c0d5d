"""Every parser that takes a stranger's bytes, under atheris: inputs tried, and what it raised that it does not declare.

`python -m benchmarks.fuzz [SECONDS] [PARSER …]`: SECONDS for each parser of tests/parsers.py (default 60), in a process
of its own, guided by coverage. Needs `pip install atheris` (wheels for Linux). An input that a parser fails on is
printed as a Python literal, to become a sample or a test. Exits 1 when there is one.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RSS_MIB = 2048  # of one process; more is a finding
INPUT_BYTES = 4096
STILL_SECONDS = 10  # on one input; more is a finding

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


def fuzz(name: str, samples: tuple[bytes, ...], seconds: int) -> tuple[int, str]:
    """Fuzz one parser; return how many inputs were tried, and what it failed on, or ""."""
    with tempfile.TemporaryDirectory(prefix="halo-fuzz-") as folder:
        for number, sample in enumerate(samples):
            Path(folder, f"sample-{number}").write_bytes(sample)
        flags = [f"-max_total_time={seconds}", f"-rss_limit_mb={RSS_MIB}", f"-max_len={INPUT_BYTES}"]
        flags += [f"-timeout={STILL_SECONDS}", f"-artifact_prefix={folder}/", "-print_final_stats=1", folder]
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, name, *flags], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
    said = done.stdout + done.stderr
    tried = re.search(r"number_of_executed_units: (\d+)", said)
    failing = re.search(r"^FAILED ON (.*)$", said, re.MULTILINE)
    why = "" if done.returncode == 0 else (failing[1] if failing else said[-1000:])
    return int(tried[1]) if tried else 0, why


def main() -> int:
    """Fuzz the parsers that are named, or all, and print a table."""
    if importlib.util.find_spec("atheris") is None:
        print("!! NOT INSTALLED: atheris; nothing was fuzzed (pip install atheris)")
        return 0
    from tests.parsers import PARSERS

    words = sys.argv[1:]
    seconds = int(words.pop(0)) if words and words[0].isdigit() else 60
    failed = False
    for name, parser in PARSERS.items():
        if not words or name in words:
            tried, why = fuzz(name, parser.samples, seconds)
            print(f"| {name} | {seconds} s | {tried:,} inputs | {why or 'nothing it does not declare'} |", flush=True)
            failed |= bool(why)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
