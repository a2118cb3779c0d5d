"""How spans are named, and what is quoted from them."""

from __future__ import annotations

from halo_worker.report.base import Model


class SpanRef(Model):
    """A span, named."""

    trace_id: str
    span_id: str


class Evidence(Model):
    """A verbatim quote: a substring of the decoded text of `field` of that span.

    `field` is `name`, `input_text`, `output_text`, `status_message`, `error_message`, `attributes["key"]` or
    `events[i].attributes["key"]`.
    """

    trace_id: str
    span_id: str
    field: str
    quote: str
