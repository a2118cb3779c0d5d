"""`halo cases`: regression cases out of real failing traces."""

from __future__ import annotations

from pathlib import Path

import click

from halo_worker.cli.common import everywhere, settings
from halo_worker.cli.console import talk
from halo_worker.display import json_for_terminal
from halo_worker.report.formats import plural

DEFAULT_MAX = 20


@click.command("cases")
@click.argument("issue_id", metavar="ISSUE")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "pytest", "promptfoo"]), default="jsonl", show_default=True
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to.  [default: stdout; halo-cases/ISSUE for the others]",
)
@click.option(
    "--max",
    "most",
    type=click.IntRange(min=1, max=500),
    default=DEFAULT_MAX,
    show_default=True,
    help="Failing cases at most; each may have a control.",
)
@everywhere
def cases_command(
    issue_id: str, form: str, out: Path | None, most: int, data_dir: Path | None, config: Path | None
) -> None:
    """Turn failing traces of an issue into cases that keep it fixed: one of each kind, and passing ones like them.

    \b
    halo cases HALO-1a2b3c4d > cases.jsonl
    halo cases HALO-1a2b3c4d --format pytest      then HALO_AGENT=module:function pytest halo-cases/…
    halo cases HALO-1a2b3c4d --format promptfoo   then npx promptfoo eval, in that directory

    Keys, tokens and addresses are masked as in deliveries ([redaction]). docs/cases.md describes a case.
    """
    from halo_worker.cases import collect, formats

    current = settings(data_dir, config)
    found = collect.collect(current, issue_id, most=most, ruled=form != "jsonl")
    for problem in found.problems:
        talk(f"warning: {problem}")
    failing = sum(case["kind"] == "failing" for case in found.cases)
    said = f"{plural(failing, 'case')} of {plural(found.kinds, 'kind')} in {plural(found.traces, 'trace')}"
    talk(f"{said}, and {plural(len(found.cases) - failing, 'control')}")
    if found.cases[0]["rule"] is None:
        talk(f"warning: no rule: nothing measures {found.issue.issue_id} without a model; judge these cases yourself")
    if form == "jsonl" and out is None:
        click.echo(json_for_terminal(formats.lines(found.cases)), nl=False)
        return
    for path in formats.write(form, found.cases, out or Path("halo-cases") / found.issue.issue_id):  # type: ignore[arg-type]
        click.echo(str(path))
