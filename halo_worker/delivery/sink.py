"""What a sink is: it takes a report, or says whether it is worth trying again."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from halo_worker.config_delivery import FilterConfig, SinkConfig
from halo_worker.delivery.redaction import Redactor
from halo_worker.errors import SinkRefused, SinkUnavailable
from halo_worker.links import NONE, Links
from halo_worker.report.model import SEVERITIES, Finding, Report

PROBE_SECONDS = 3.0
_REACH = "reports wait and are sent when it can be; if it moved, mend its url"


@dataclass(frozen=True, slots=True)
class Parcel:
    """One report on its way to one sink: filtered, redacted, with its folder for the files."""

    report: Report
    document: dict[str, Any]  # report.json as the sink may see it
    folder: Path
    mask: Redactor  # for what a sink takes from the folder
    key: str  # Idempotency-Key: the same however often it is sent
    receipt: dict[str, Any] = field(default_factory=dict)  # what an earlier attempt left, to go on from
    links: Links = NONE


class Sink(Protocol):
    """Takes a parcel and returns what to note on its receipt. Raises SinkUnavailable or SinkRefused."""

    def deliver(self, parcel: Parcel) -> dict[str, Any]: ...

    def where(self) -> str:
        """Say where it leads, without secrets."""
        ...

    def probe(self) -> None:
        """Look whether it could be reached now, sending nothing that anyone would see. Raises as `deliver` does."""
        ...


def passes(finding: Finding, config: FilterConfig) -> bool:
    """Say whether a sink is told of a finding."""
    if SEVERITIES.index(finding.severity) > SEVERITIES.index(config.min_severity):
        return False
    if config.states and finding.state not in config.states:
        return False
    agents = {item.value for item in finding.breakdown if item.dimension == "agent"}
    return not config.agents or bool(agents & set(config.agents))


def is_news(finding: Finding) -> bool:
    """Say whether a finding tells something that its readers do not know: traces of before a fix are none."""
    leftover = finding.state == "resolved" and finding.prevalence.traces > 0
    return finding.state != "ongoing" and not finding.muted and not leftover


def filtered(report: Report, config: SinkConfig) -> Report | None:
    """Return the report with the findings this sink is told of; None when it wants quiet and there is nothing new.

    A run that could not look at everything is told of, and an answer to a question, whatever it found. An alert is news
    by itself, but not of a finding that the sink is not told of. A tracker hears of every finding: its filter says
    which get a ticket; of an alert that is over it hears nothing, for the issue is not resolved by that.
    """
    if report.alert is not None and report.alert.what == "over":
        return None if config.is_tracker else report
    every = config.is_tracker
    kept = [finding for finding in report.findings if every or finding.muted or passes(finding, config.filter)]
    if report.alert is not None:
        return report if kept else None
    if config.is_quiet and report.status == "complete" and not report.prompt and not any(map(is_news, kept)):
        return None
    return report.model_copy(update={"findings": kept})


def reach(url: str, where: str) -> None:
    """Open a connection to a URL's host and close it. Raises SinkUnavailable in words."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except socket.gaierror:
        raise SinkUnavailable(f"{where}: the host {host} is not known", hint=_REACH) from None
    except (OSError, ValueError) as error:  # ValueError: a port that is none, or a host that cannot be one
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SinkUnavailable(f"{where} cannot be reached: {reason}", hint=_REACH) from None


def check_answer(answer: httpx.Response, where: str) -> None:
    """Raise for an HTTP answer that is not a success: to be retried or not is its class."""
    if answer.is_success:
        return
    text = f"{where} answered {answer.status_code}"
    if answer.status_code in (408, 409, 425, 429) or answer.status_code >= 500:
        raise SinkUnavailable(text, retry_after=retry_after(answer.headers))
    detail = " ".join(answer.text[:200].split())
    raise SinkRefused(f"{text}: {detail}" if detail else text, hint="mend the sink's settings, then 'halo deliver'")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After, seconds or an HTTP date."""
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
