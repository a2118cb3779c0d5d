"""The upstream OpenTelemetry Collector and its `telemetrygen`, built from their Go modules.

`python3 -m tests.collector` builds them (the gate does where Go is present); tests find them with `program` and are
skipped where they are not built. The folder's name has a digest of what they are built from, so a build is done once.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
TELEMETRYGEN = "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen"
PROGRAMS = ("collector", "telemetrygen")
OTHER = "HALO_OTELCOL"  # names another Collector to test with, for example an official distribution


def folder() -> Path:
    """Where the programs of these sources are, once they are built."""
    digest = hashlib.sha256(platform.machine().encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((SOURCES / name).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "halo-tests" / f"collector-{digest.hexdigest()[:16]}"


def program(name: str) -> Path | None:
    """The path of `collector` or `telemetrygen`; None when it is not built."""
    if name == "collector" and (other := os.environ.get(OTHER)):
        return Path(other)
    path = folder() / name
    return path if path.exists() else None
