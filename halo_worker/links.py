"""`[links]`: addresses in a team's own tools: of a report, of its traces, of its issues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from pydantic import Field, ValidationInfo, field_validator

from halo_receiver.config import Section

# Of each template, the names that may stand in it in braces; the first of them must.
PLACES: Mapping[str, tuple[str, ...]] = {
    "report_url": ("id",),
    "trace_url": ("trace_id", "span_id"),
    "issue_url": ("issue_id",),
}
_FITS = re.compile(r"https?://[^\s<>|\"'`()\\]{1,2000}")
_PLACE = re.compile(r"\{(\w*)\}")


def is_address(text: str) -> bool:
    """Say whether text is an address that can stand in a page, a message or a terminal."""
    return _FITS.fullmatch(text) is not None


def checked(setting: str, template: str | None) -> str | None:
    """Return a template that can be used. Raises ValueError that says what is wrong."""
    if not template:
        return template
    places, found = PLACES[setting], _PLACE.findall(template)
    if not is_address(template):
        raise ValueError(f"{setting} must begin with http:// or https:// and hold no spaces, quotes or brackets")
    if places[0] not in found or set(found) - set(places):
        others = "".join(f"; {{{name}}} may be there too" for name in places[1:])
        raise ValueError(f"{setting} needs {{{places[0]}}}{others}")
    return template


class Links(Section):
    """`[links]`: where a report links to; without a template nothing is linked.

    Ids are percent-encoded: those of imported files may be anything.
    """

    report_url: str | None = Field(None, description="A report: '{id}' is its id.")
    trace_url: str | None = Field(
        None, description="A trace in your viewer: '{trace_id}', and '{span_id}' if it has a place."
    )
    issue_url: str | None = Field(None, description="An issue in your tracker: '{issue_id}' is its id.")

    @field_validator("report_url", "trace_url", "issue_url")
    @classmethod
    def _is_a_template(cls, template: str | None, info: ValidationInfo) -> str | None:
        return checked(info.field_name or "", template)

    def to_report(self, report_id: str) -> str | None:
        """Return the address of a report."""
        return _filled(self.report_url, id=report_id)

    def to_trace(self, trace_id: str, span_id: str = "") -> str | None:
        """Return the address of a trace in a trace viewer, or of its span where the template has a place for it."""
        return _filled(self.trace_url, trace_id=trace_id, span_id=span_id)

    def to_issue(self, issue_id: str) -> str | None:
        """Return the address of an issue."""
        return _filled(self.issue_url, issue_id=issue_id)


NONE = Links.model_validate({})


def _filled(template: str | None, **ids: str) -> str | None:
    if not template:
        return None
    return _PLACE.sub(lambda match: quote(ids.get(match[1], ""), safe=""), template)
