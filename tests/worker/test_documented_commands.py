"""Every `sh` block of the documents is run here, or says in a comment before it why not; all of them are parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from halo_worker.cli import COMMANDS, group
from tests.builders import flat_failures
from tests.conftest import REPOSITORY
from tests.worker.conftest import Halo

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?```sh\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`halo ([a-z]+)(?: [^`]*)?`")
OF_THE_GATE = "sh deploy/"  # the gate runs these two as they stand


def blocks(page: Path) -> list[tuple[str | None, list[str]]]:
    """Return why a block is not run, and its lines."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(block["why"], [line for line in block["text"].splitlines() if line.strip()]) for block in found]


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_document_is_one(page: Path) -> None:
    """Commands and their options exist, also of blocks that are not run."""
    text = page.read_text(encoding="utf-8")
    assert set(INLINE.findall(text)) <= {*COMMANDS, "help"}
    for _, lines in blocks(page):
        for line in lines:
            if line.startswith("halo "):
                name, *rest = words(line)[1:]
                command = group.get_command(click.Context(group), name)
                assert command is not None, line
                known = {
                    option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
                }
                given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)}
                assert given <= known, line


def test_every_block_that_is_not_excused_runs(halo: Halo) -> None:
    """In the order of each page, on a small store, in one directory."""
    Path("traces.jsonl").write_text(flat_failures("").replace("clerk", "support-agent").replace("pay", "issue_refund"))
    Path("slow.sql").write_text("SELECT count(*) FROM spans")
    for directory in ("halo-data", "halo-demo"):
        assert halo("import", "traces.jsonl", "--data-dir", directory).code == 0
        assert halo("run", "--last", "1h", "--detectors-only", "--data-dir", directory).code == 0
    for page in PAGES:
        Path("halo.toml").unlink(missing_ok=True)
        for why, lines in blocks(page):
            for line in lines if why is None else ():
                if not line.startswith(OF_THE_GATE):
                    assert line.startswith("halo "), f"{page.name}: {line}: say why it is not run"
                    done = halo(*words(line)[1:])
                    assert done.code in ((0, 1) if " doctor" in line else (0,)), (line, done.said)
