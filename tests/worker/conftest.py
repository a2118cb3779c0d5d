"""The command line in this process: a command takes a second to start, and most of what it does can be seen here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from halo_worker.cli import main


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


Halo = Callable[..., Done]


@pytest.fixture
def halo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Halo:
    """Run one command in an empty directory, with nothing in the environment that would configure it."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("HALO_", "OPENAI_"))]:
        monkeypatch.delenv(name)

    def run(*words: str) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run
