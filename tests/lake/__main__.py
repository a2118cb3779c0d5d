"""Install what the lake's tests need beside the environment of the others: `python3 -m tests.lake`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lake import folder, packages

MAX_SECONDS = 600  # an index that does not answer must not hold the gate


def main() -> str | None:
    """Install once; return what went wrong."""
    target = folder()
    if "--folder" in sys.argv:
        print(target)
        return None
    if target.is_dir():
        print(f"installed already: {target}")
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*words, "--target", f"{scratch}/all", *packages()],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=MAX_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            return "\n".join(done.stdout.splitlines()[-5:])
        os.replace(Path(scratch) / "all", target)
    print(f"installed: {target}")
    return None


if __name__ == "__main__":
    sys.exit(main())
