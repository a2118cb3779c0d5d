"""`halo run` and `halo demo`: analyse now."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from halo_receiver import permissions
from halo_worker import run
from halo_worker.cli import page
from halo_worker.cli.common import bounds, everywhere, given_data_dir, settings, show_report, window_of
from halo_worker.cli.console import talk
from halo_worker.cli.progress import shown
from halo_worker.cli.sources import form_option, paths_of, say_problems
from halo_worker.config import ModelConfig
from halo_worker.config_schedules import BudgetConfig
from halo_worker.display import visible
from halo_worker.errors import InputError
from halo_worker.report import formats
from halo_worker.report.model import Report
from halo_worker.request import Request

_MODEL = {
    "model": "name", "sub_model": "sub_model", "base_url": "base_url", "api_key": "api_key", "api": "api",
    "temperature": "temperature", "reasoning_effort": "reasoning_effort", "max_output_tokens": "max_output_tokens",
    "parallel_tool_calls": "parallel_tool_calls", "refusal_retries": "refusal_retries",
    "request_timeout": "request_timeout_seconds",
}  # fmt: skip
_BUDGET = ("max_turns", "max_depth", "max_parallel", "max_tokens", "max_cost", "max_seconds")


def _budget(name: str, what: str) -> str:
    return f"Budget: {what}.  [default: {BudgetConfig.model_fields[name].default:,}]"


def _model_options(command: Any) -> Any:
    efforts = click.Choice(["none", "minimal", "low", "medium", "high", "xhigh"])
    for option in (
        click.option("--telemetry", is_flag=True, help="Keep the run's own spans, viewable with 'halo trace'."),
        click.option("--context", metavar="TEXT|@FILE", help="What a reader should know about these agents."),
        click.option(
            "--repo-path",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="The agents' source, for the code and git tools.",
        ),
        click.option(
            "--route",
            type=click.Choice(["auto", "direct", "map", "judge", "loop"]),
            help="How a window is worked; auto decides by size.",
        ),
        click.option(
            "--max-seconds",
            type=click.FloatRange(min=0, min_open=True),
            help=_budget("max_seconds", "seconds of wall time"),
            metavar="SECONDS",
        ),
        click.option(
            "--max-cost",
            type=click.FloatRange(min=0, min_open=True),
            help=_budget("max_cost", "dollars, where the price is known"),
            metavar="DOLLARS",
        ),
        click.option(
            "--max-tokens", type=click.IntRange(min=1), help=_budget("max_tokens", "tokens of all calls"), metavar="N"
        ),
        click.option(
            "--max-parallel",
            type=click.IntRange(min=1),
            help=_budget("max_parallel", "sub-calls at once, each depth"),
            metavar="N",
        ),
        click.option(
            "--max-depth",
            type=click.IntRange(min=0),
            help=_budget("max_depth", "how deep sub-agents nest"),
            metavar="N",
        ),
        click.option(
            "--max-turns", type=click.IntRange(min=1), help=_budget("max_turns", "turns of the root agent"), metavar="N"
        ),
        click.option(
            "--refusal-retries", type=click.IntRange(min=0), help="How often a refusal is answered with 'Continue.'"
        ),
        click.option(
            "--request-timeout",
            type=click.FloatRange(min=0, min_open=True),
            help="How long the provider may be silent, between two parts of an answer too."
            f"  [default: {ModelConfig.model_fields['request_timeout_seconds'].default:g}]",
            metavar="SECONDS",
        ),
        click.option("--parallel-tool-calls/--no-parallel-tool-calls", default=None, help="Several tools in one turn."),
        click.option("--max-output-tokens", type=click.IntRange(min=1), help="Of one answer."),
        click.option("--reasoning-effort", type=efforts, help="Of models that reason."),
        click.option("--temperature", type=click.FloatRange(0, 2), help="Default: the provider's."),
        click.option("--api", type=click.Choice(["chat", "responses"]), help="Which API the endpoint speaks."),
        click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Sent with every request."),
        click.option(
            "--api-key",
            help="Default: OPENAI_API_KEY. Others on the machine can see a flag: prefer the environment.",
            metavar="KEY",
        ),
        click.option("--base-url", help="An OpenAI-compatible endpoint; default: OPENAI_BASE_URL.", metavar="URL"),
        click.option("--compaction-model", hidden=True, expose_value=False),
        click.option(
            "--sub-model",
            "--synthesis-model",
            "sub_model",
            help="The model of sub-calls and syntheses.  [default: the same]",
            metavar="NAME",
        ),
        click.option(
            "-m",
            "--model",
            help=f"The model of the root agent.  [default: {ModelConfig.model_fields['name'].default}]",
            metavar="NAME",
        ),
        click.option("--detectors-only", is_flag=True, help="Ask no model."),
        click.option("-p", "--prompt", help="A question to answer; needs a model."),
    ):
        command = option(command)
    return command


@click.command("run")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--input",
    "given_paths",
    multiple=True,
    metavar="PATH",
    help="Trace files instead of the store; repeatable, globs, directories, '-'.",
)
@click.option(
    "--source",
    metavar="ADDRESS",
    help="Another store in place of the data directory: clickhouse://…, or [sources.NAME].",
)
@click.option("--local", is_flag=True, help="This host's data directory, also where [lake] is set.")
@bounds("24h")
@_model_options
@form_option
@click.option("--out", type=click.Path(path_type=Path), help="Put the run's folder under this directory.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json", "markdown", "html"]),
    help="[default: text on a terminal, markdown in a pipe]",
)
@click.option(
    "--fail-on", type=click.Choice(["new", "regressed", "any"]), help="Exit 3 when a finding is in that state."
)
@click.option(
    "--schedule",
    metavar="NAME",
    help="Compare with this schedule's windows, under its filters.  [default: the only one]",
)
@click.option("--remember", is_flag=True, help="Count this window in the issue memory, as a schedule's are.")
@click.option("--resume", metavar="RUN_ID", help="Go on with a run that was cut off.")
@everywhere
def run_command(
    paths: tuple[str, ...], given_paths: tuple[str, ...], last_: str | None, since: str | None, until: str | None,
    prompt: str | None, detectors_only: bool, out: Path | None, output: str | None, fail_on: str | None, schedule: str | None,
    remember: bool, resume: str | None, form: str | None, source: str | None, local: bool,
    telemetry: bool, context: str | None, repo_path: Path | None, route: str | None, headers: tuple[str, ...],
    data_dir: Path | None, config: Path | None, **options: Any,
) -> int:  # fmt: skip
    """Analyse now: the last 24 hours of the store, or trace files. Prints the report and keeps it.

    \b
    halo run --last 1h
    halo run --input traces.jsonl --detectors-only
    halo run --source clickhouse://user@host:8443/otel --last 24h
    halo traces.jsonl -p "Why do refunds fail?"

    \b
    Exit: 0 a verified report was published, complete or partial, or there was nothing to report
          1 the run failed, or the question was not answered
          2 wrong usage or configuration        3 --fail-on matched
    """
    current = settings(
        data_dir,
        config,
        model={setting: options[flag] for flag, setting in _MODEL.items()} | _headers(headers),
        budget={name: options[name] for name in _BUDGET},
        analysis={"route": route, "repo_path": repo_path, "context": _context(context)},
    )
    files = paths_of((*paths, *given_paths), form)
    now_ns = time.time_ns()
    if files and (last_ or since or until):
        raise InputError("--last, --since and --until are for the store; with files the window is all that is in them")
    if files and source:
        raise InputError("--source names a store, and files were given too", hint="give one or the other")
    outside = bool(files) and given_data_dir(data_dir) is None
    filters = current.schedules.get(schedule or "")
    if outside and (remember or schedule):
        flag = "--remember" if remember else "--schedule"
        raise InputError(f"{flag} is about an issue memory, and files have none", hint="add --data-dir DIR")
    request = Request(
        window=None if files else window_of(last_, since, until, now_ns=now_ns, default="24h"),
        paths=files,
        form=form,
        source=source or (filters.source if filters else None),
        local=local,
        prompt=prompt,
        engine="detectors" if detectors_only else None,
        out=out or (Path("halo-reports") if outside else None),
        recall=not outside,
        remember=remember,
        memory=schedule,
        services=tuple(filters.services) if filters else (),
        agents=tuple(filters.agents) if filters else (),
        resume=resume,
        telemetry=telemetry,
        say=talk,
    )
    with shown() as progress:
        result = run.run(current, replace(request, progress=progress), now_ns=now_ns)
    say_problems(result.problems)
    if unanswered := formats.unanswered(result.report):
        talk(unanswered if prompt or result.report.prompt else f"warning: {unanswered}")
    _print(result, output)
    for item in result.deliveries:
        talk(f"{item.sink}: {item.state}{f', {item.reason}' if item.reason else ''}")
    return _exit_code(result.report, fail_on)


def _headers(given: tuple[str, ...]) -> dict[str, Any]:
    headers = {}
    for item in given:
        name, colon, value = item.partition(":")
        if not colon or not name.strip():
            raise InputError(f"--header {item!r} is not 'NAME: VALUE'")
        headers[name.strip()] = value.strip()
    return {"headers": headers or None}


def _context(text: str | None) -> str | None:
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--context {text}: {error}") from None


def _print(result: run.Result, form: str | None) -> None:
    show_report(result.folder, form)
    talk(f"report: {result.folder / 'report.html'}")


def _exit_code(report: Report, fail_on: str | None) -> int:
    if report.status == "failed" or (report.prompt and report.unanswered is not None):
        return 1
    states = {finding.state for finding in report.findings if not finding.muted} - {"resolved"}
    matched = bool(states) if fail_on == "any" else fail_on in states
    return 3 if fail_on and matched else 0


@click.command("demo")
@click.option("--stay", is_flag=True, help="Serve the page of the demo afterwards, until Ctrl-C.")
@everywhere
def demo_command(stay: bool, data_dir: Path | None, config: Path | None) -> int:
    """Show a fleet of agents over five days: received through a real exporter, analysed, reported. Needs no key.

    Works in ./halo-demo unless --data-dir names another directory; an earlier demo there is replaced.
    """
    from halo_worker.demo import stage

    directory = given_data_dir(data_dir) or Path("halo-demo")
    permissions.secure(directory, None, say=talk, make=True)
    shown = stage.show(directory, now_ns=time.time_ns(), say=talk)
    click.echo(visible(stage.describe(shown)))
    if stay:
        page.stay(directory, directory / stage.SETTINGS)
    return 0
