"""`halo detectors`: the rules, what each says, and the writing of one's own."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from halo_worker.analysis.detectors import DETECTORS, Own, Unit, rules, trial
from halo_worker.cli.common import everywhere, nearest, open_reader, print_rows, settings, window_of
from halo_worker.cli.console import fail, talk
from halo_worker.errors import HaloError, InputError

NEW = """---
name = "{name}"
category = "Unhandled Error"
title = "{{subject}} takes over a minute"
description = "What happens, in a sentence: {{subject}} is filled in, and {{key}}."
definition = "A tool takes over a minute"
fix = "What to change."
validation = "What should be seen once it is fixed."
source = "where the rule comes from"
limits = "what it cannot see"
severity = "medium"
confidence = 0.8
version = 1
---
-- Columns: trace_id, span_id; if you like key (what tells one failure mode from another), subject, origin_span_id (the
-- span to blame), field and quote (a text of the span, and the part of it that proves). Tables: docs/detectors.md.
SELECT work AS key, work AS subject, trace_id, span_id
FROM steps WHERE span_type = 'tool' AND duration_ns > 60e9
---
[[example]]
fires = true
spans = [{{ tool = "export", seconds = 90 }}, {{ llm = "gpt-5", output = "The export is ready." }}]

[[example]]
fires = false
why = "quick enough"
spans = [{{ tool = "export", seconds = 50 }}, {{ llm = "gpt-5", output = "The export is ready." }}]
"""


@click.group("detectors", invoke_without_command=True)
@everywhere
@click.pass_context
def detectors_command(ctx: click.Context, data_dir: Path | None, config: Path | None) -> None:
    """The rules that look for failure modes: halo's own, and yours of [detectors] paths."""
    if ctx.invoked_subcommand is None:
        _list(data_dir, config)


@detectors_command.command("list")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", show_default=True
)
@everywhere
def list_command(form: str, data_dir: Path | None, config: Path | None) -> None:
    """List them: name, category, confidence, where from."""
    _list(data_dir, config, form)


def _list(data_dir: Path | None, config: Path | None, form: str = "table") -> None:
    current = settings(data_dir, config)
    own, bad = rules.load(current.detectors.paths)
    muted = set(current.detectors.mute)
    rows: list[dict[str, Any]] = [
        {
            "name": unit.name, "category": unit.category, "confidence": unit.confidence, "version": unit.version,
            "from": "halo" if unit in DETECTORS else unit.path, "muted": "muted" if unit.name in muted else None,
        }
        for unit in (*own, *DETECTORS)
    ]  # fmt: skip
    print_rows(rows, form)
    for error in bad:
        talk(f"error: {error}")
    for name in sorted(muted - {row["name"] for row in rows}):
        talk(f"warning: [detectors] mute names '{name}', which is none: {nearest(name, [row['name'] for row in rows])}")


@detectors_command.command("show")
@click.argument("name")
@everywhere
def show_command(name: str, data_dir: Path | None, config: Path | None) -> None:
    """Print one: what it says, its SQL, its examples."""
    own, _ = rules.load(settings(data_dir, config).detectors.paths)
    units = {unit.name: unit for unit in (*own, *DETECTORS)}
    if name not in units:
        fail(InputError(f"there is no detector '{name}'", hint=nearest(name, units)))
    click.echo(rules.text_of(units[name]), nl=False)


@detectors_command.command("new")
@click.argument("name")
@click.option("--to", "folder", type=click.Path(path_type=Path), default=Path("detectors"), show_default=True)
@click.help_option("-h", "--help")
def new_command(name: str, folder: Path) -> None:
    """Write a file to start from."""
    if not rules.NAME.fullmatch(name):
        fail(InputError(f"'{name}' is no name for a detector", hint="lowercase letters, digits and _, a letter first"))
    file = folder / f"{name}.sql"
    if file.exists():
        fail(InputError(f"{file} exists", hint="choose another name"))
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(NEW.format(name=name), encoding="utf-8")
    click.echo(str(file))
    talk(f"try it: halo detectors test {file}; use it: [detectors] paths = ['{folder}/'] in halo.toml")


@detectors_command.command("test")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--last", "last_", default="24h", show_default=True, help="The window it is run over.")
@everywhere
def test_command(file: Path, last_: str, data_dir: Path | None, config: Path | None) -> None:
    """Run a detector's examples, and the detector over the last window: hits, rate and time. Exits 1 if any is wrong."""
    found, bad = rules.load([file])
    for error in bad:
        talk(f"error: {error}")
    if bad or not found:
        sys.exit(1)
    wrong = sum(_test(unit) for unit in found)
    current = settings(data_dir, config)
    window = window_of(last_, None, None, now_ns=time.time_ns(), default=None)
    try:
        with open_reader(current, window) as reader, tempfile.TemporaryDirectory(prefix="halo-detectors-") as folder:
            result = trial.over(reader, Own([file], temp_dir=Path(folder), threads=current.store.threads))
    except HaloError as error:
        talk(f"the last {last_} cannot be looked at: {error}")
        sys.exit(1 if wrong else 0)
    for line in result.lines:
        click.echo(line)
    sys.exit(1 if wrong or result.problems else 0)


def _test(unit: Unit) -> int:
    """Run the examples of one, say how they went, and return how many went wrong."""
    try:
        with tempfile.TemporaryDirectory(prefix="halo-examples-") as folder:
            outcome = trial.run_examples([unit], Path(folder))
    except HaloError as error:  # an example that cannot be read
        outcome = trial.Outcome(problems=[str(error)])
    for problem in outcome.problems:
        talk(f"error: {problem}")
    told = f"{unit.name}: {outcome.passed} of {len(unit.examples)} examples as they should be"
    click.echo(told if unit.examples else f"{unit.name}: no examples; add [[example]] after a third line of ---")
    return len(outcome.problems)
