"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with captures, conventions and benchmarks; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("HALO_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set HALO_SHARED to the folder that holds otlp-captures/")
    return folder


@pytest.fixture(scope="session")
def captures(shared: Path) -> Path:
    """Payloads that real SDKs sent."""
    return shared / "otlp-captures"
