"""`halo verify`: did a fix work."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from halo_worker.cli.common import everywhere, settings
from halo_worker.cli.console import talk
from halo_worker.display import json_for_terminal, visible
from halo_worker.errors import InputError
from halo_worker.report.formats import plural
from halo_worker.report.verification import ReleaseReport, Verification
from halo_worker.verify import conductor, text
from halo_worker.verify.plan import plan_of

# What each --fail-on matches: what is worse is not fixed either.
FAILS = {"not-fixed": {"not fixed", "worse"}, "worse": {"worse"}, "new": {"new"}, "too-few": {"too few"}}


@click.command("verify")
@click.argument("issue_id", required=False, metavar="[ISSUE]")
@click.option("--all", "every", is_flag=True, help="Every issue: what each did, and what is new since.")
@click.option("--since", metavar="T", help="After: what arrived since T. ISO-8601; naive means UTC.")
@click.option("--release", metavar="V", help="After: traces of this service.version; before: of earlier ones.")
@click.option("--attribute", metavar="KEY=VALUE", help="The same by another attribute, such as prompt.version=7.")
@click.option("--after", metavar="C..D", help="After: what arrived from C to D, D not included.")
@click.option(
    "--input", "files", multiple=True, metavar="FILE", help="After: trace files, say of a CI run; repeatable."
)
@click.option("--before", metavar="A..B", help="Before: what arrived from A to B.  [default: the 14 days before]")
@click.option("--schedule", metavar="NAME", help="As this schedule sees it.  [default: the one that saw it last]")
@click.option(
    "--fail-on",
    type=click.Choice(list(FAILS)),
    multiple=True,
    help="Exit 3 on this verdict; repeatable. not-fixed includes worse.",
)
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@everywhere
def verify_command(
    issue_id: str | None, every: bool, since: str | None, release: str | None, attribute: str | None, after: str | None,
    files: tuple[str, ...], before: str | None, schedule: str | None, fail_on: tuple[str, ...], form: str,
    data_dir: Path | None, config: Path | None,
) -> int:  # fmt: skip
    """Say whether an issue is gone: its own rule on both sides of a change, compared exactly. Needs no model.

    What a model found without a rule is judged again: the model of [model] reads traces of both sides, within [budget].

    \b
    halo verify HALO-1a2b3c4d                      since it was resolved
    halo verify HALO-1a2b3c4d --release 2.4.0
    halo verify HALO-1a2b3c4d --input ci.jsonl     traces that a CI run just made
    halo verify --all --release 2.4.0              a release report

    \b
    fixed      none after, and chance would not have hidden it
    improved   less often, and still there
    not fixed  still there, and enough traces to show it gone, or as often
    worse      more often
    too few    these traces could not have shown it; says how many more are needed

    \b
    Exit: 0 there is a verdict, whichever       2 wrong usage, or nothing to compare
          3 --fail-on matched
    """
    if every == (issue_id is not None):
        raise InputError(
            "which issue?" if not every else f"{issue_id} and --all: one issue is asked about, or every",
            hint="give ISSUE ('halo issues' lists them) or --all",
        )
    current = settings(data_dir, config)
    now_ns = time.time_ns()
    plan = plan_of(
        since=since, release=release, attribute=attribute, before=before, after=after, files=files, now_ns=now_ns
    )
    question = conductor.Question(None if every else issue_id, plan, schedule, with_new="new" in fail_on)
    answer = conductor.verify(current, question, now_ns=now_ns, say=talk)
    _print(answer, form)
    return 3 if any(FAILS[name] & answer.verdicts for name in fail_on) else 0


def _print(answer: conductor.Answer, form: str) -> None:
    """Print the answer on stdout; what a reader must know beside it on stderr."""
    one = answer.verified
    for warning in one.warnings:
        talk(f"warning: {warning}")
    if isinstance(one, Verification) and one.verdict == "too few":
        more = f": {plural(one.needed, 'trace')} more are needed after" if one.needed else ""
        talk(f"warning: too few traces for a verdict on {one.issue_id}{more}")
    if form == "json":
        document = one.model_dump(mode="json")
        if answer.new and isinstance(one, Verification):
            document["new"] = [item.model_dump() for item in answer.new]
        click.echo(json_for_terminal(json.dumps(document, ensure_ascii=False, indent=2)))
    elif isinstance(one, ReleaseReport):
        click.echo(visible(text.release_text(one) if form == "text" else text.release_markdown(one)))
    else:
        click.echo(visible(text.verdict_text(one) if form == "text" else text.verdict_markdown(one)))
        for item in answer.new:
            talk(f"new since: {item.issue_id} {item.title}: {item.traces} of {item.of}")
