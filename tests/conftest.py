"""What every test may ask for."""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.scripted_model import Scripted

REPOSITORY = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("halo", deadline=None)  # no test fails because a machine is busy
# The gate tries the same examples for the same code; any others are tried while developing and by .ci/extended.
hypothesis.settings.register_profile("gate", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile(os.environ.get("HALO_HYPOTHESIS_PROFILE", "halo"))


def pytest_configure() -> None:
    """Under libfaketime, mend what it breaks, here and in every process that tests start."""
    if "faketime" in os.environ.get("LD_PRELOAD", ""):
        folder = REPOSITORY / "tests" / "faketime"
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        runpy.run_path(str(folder / "sitecustomize.py"))


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


@pytest.fixture
def scripted_model() -> Iterator[Scripted]:
    """Start an OpenAI-compatible server that answers by a script: `scripted_model([Say("hello")]).base_url`."""
    scripted = Scripted()
    yield scripted
    scripted.stop()
