"""What a receiver's counters mean, for `halo doctor`."""

from __future__ import annotations

import re
from collections.abc import Iterator

Check = tuple[str, str, str]  # what, ok | note | problem, in words

LAG_SECONDS = 30.0  # of the loader, above which it is remarked
_SERIES = re.compile(r"([a-z_]+)(?:\{(.*)\})? ([0-9.e+-]+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_TROUBLE = {
    "halo_rejected_total": "items rejected for good, told in partial success",
    "halo_refused_requests_total": "requests told to come back",
    "halo_loader_restarts_total": "times the loader was started again",
    "halo_loader_stuck_total": "times the loader was stuck",
}
_LOADER_TROUBLE = ("set_aside", "damaged", "torn", "missing")  # what was mended is told from the segments

Numbers = list[tuple[str, dict[str, str], float]]


def _numbers(text: str) -> Numbers:
    """Read Prometheus text: name, labels, value."""
    found: Numbers = []
    for line in text.splitlines():
        match = _SERIES.fullmatch(line)
        if match:
            found.append((match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


def told(metrics: str) -> Iterator[Check]:
    """Tell what /metrics tells, in a person's words."""
    numbers = _numbers(metrics)

    def total(name: str, **labels: str) -> float:
        return sum(n for found, has, n in numbers if found == name and labels.items() <= has.items())

    took, answers = total("halo_acknowledgement_seconds_sum"), total("halo_acknowledgement_seconds_count")
    spans, records = (total("halo_accepted_total", signal=signal) for signal in ("traces", "logs"))
    says = f"{spans:,.0f} spans and {records:,.0f} log records"
    says += f" in {answers:,.0f} requests, {total('halo_received_bytes_total') / 2**20:,.1f} MiB"
    yield "received", "ok", says + (f", answered in {took / answers * 1000:.1f} ms on average" if answers else "")
    waiting, lag = total("halo_spool_backlog_bytes"), total("halo_loader_lag_seconds")
    state = "note" if lag > LAG_SECONDS else "ok"
    yield "loader", state, f"{waiting / 2**20:,.1f} MiB acknowledged and not loaded, the oldest for {lag:.0f} s"
    for name, words in _TROUBLE.items():
        if number := total(name):
            yield "receiver counters", "note", f"{words}: {number:,.0f}"
    for found, labels, number in numbers:
        if found == "halo_loader_events_total" and number and labels.get("event", "").startswith(_LOADER_TROUBLE):
            yield "receiver counters", "note", f"{labels['event'].replace('_', ' ')}: {number:,.0f}"
