"""Texts that are longer than a tool's result may be, by address: briefs, cases, traces, reports."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote

import orjson

from halo_worker.analysis.tools.fit import size as size
from halo_worker.analysis.tools.views import view_tools
from halo_worker.cases import collect, formats
from halo_worker.display import visible
from halo_worker.errors import InputError, ReportError
from halo_worker.mcp_server.store import Store
from halo_worker.report.archive import Archive
from halo_worker.report.issue import Issue
from halo_worker.report.model import Finding

MAX_BYTES = 2**20  # of one resource
MAX_CASES = 100
SEARCHED_REPORTS = 100  # newest, for one that holds an issue

TEMPLATES = {
    "halo://issues/{id}/brief": ("brief", "text/markdown", "What is needed to fix a failure mode."),
    "halo://issues/{id}/cases": ("cases", "application/jsonl", "Regression cases, one JSON object a line."),
    "halo://traces/{id}": ("trace", "application/json", "All spans of a trace, with long texts."),
    "halo://reports/{id}": ("report", "text/markdown", "A published report."),
}


def brief_uri(issue_id: str) -> str:
    """Return the address of a brief."""
    return f"halo://issues/{quote(issue_id, safe='')}/brief"


def cases_uri(issue_id: str) -> str:
    """Return the address of an issue's cases."""
    return f"halo://issues/{quote(issue_id, safe='')}/cases"


def trace_uri(trace_id: str) -> str:
    """Return the address of a trace."""
    return f"halo://traces/{quote(trace_id, safe='')}"


def report_uri(report_id: str) -> str:
    """Return the address of a report."""
    return f"halo://reports/{quote(report_id, safe='')}"


def shortened(text: str, max_bytes: int, uri: str | None = None) -> str:
    """Return as much of a text as the bytes allow, and where the rest is."""
    data = visible(text).encode()
    if len(data) <= max_bytes:
        return data.decode()
    note = f"\n[truncated: {len(data):,} bytes" + (f"; the whole is the resource {uri}]" if uri else "]")
    return data[: max_bytes - len(note.encode())].decode(errors="ignore") + note


def last_seen(archive: Archive, issue: Issue) -> tuple[str, Finding]:
    """Return the newest report that holds traces of an issue, and its finding there. Raises ReportError."""
    for run_id in archive.ids()[:SEARCHED_REPORTS]:
        try:
            findings = archive.load(run_id).findings
        except ReportError:
            continue
        for finding in findings:
            if finding.issue_id == issue.issue_id and finding.prevalence.traces:
                return run_id, finding
    raise ReportError(f"no report names traces of {issue.issue_id}", hint="'halo run' finds it again, if it is there")


async def read(store: Store, uri: str) -> tuple[str, str]:
    """Return the media type and the text of a resource. Raises InputError for an address that leads nowhere."""
    for template, (name, media, _) in TEMPLATES.items():
        found = re.fullmatch(re.escape(template).replace(r"\{id\}", "([^/]+)"), uri)
        if found:
            text = await _READ[name](store, unquote(found[1]))
            return media, shortened(text, MAX_BYTES)
    raise InputError(f"there is no resource {uri[:200]!r}", hint=f"there are: {', '.join(TEMPLATES)}")


async def _brief(store: Store, name: str) -> str:
    return await store.work(lambda: store.memory().find(name).finding.fix.brief)


async def _cases(store: Store, name: str) -> str:
    found = await store.work(lambda: collect.collect(store.settings, name, most=MAX_CASES, ruled=False))
    return formats.lines(found.cases)


async def _trace(store: Store, name: str) -> str:
    async with store.desk() as desk:
        whole, _ = view_tools(desk)
        found = await whole.call({"trace_id": name}, MAX_BYTES)
    return orjson.dumps(found).decode()


async def _report(store: Store, name: str) -> str:
    report = await store.work(lambda: store.archive.load(name))
    try:
        return (store.archive.directory / report.id / "report.md").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ReportError(f"report.md of {report.id} cannot be read: {error.strerror}") from None


_READ: dict[str, Callable[[Store, str], Awaitable[str]]] = {
    "brief": _brief,
    "cases": _cases,
    "trace": _trace,
    "report": _report,
}
