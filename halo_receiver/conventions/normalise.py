"""One name for what senders call differently: providers, finish reasons, error types."""

from __future__ import annotations

import re
from typing import Any

from halo_receiver.conventions.table import Table
from halo_receiver.conventions.values import name, structured

_GENERIC = {"_other", "exception", "error", "baseexception", "unknown", ""}
# "ValueError: …", "openai.BadRequestError: …", "RateLimitError('…')": how a message names its own type
_TYPE_PREFIX = re.compile(
    r"(?:[A-Za-z_]\w{0,60}\.){0,8}([A-Z]\w{0,80}(?:Error|Exception|Exit|Interrupt|Timeout|Warning|Failure|Fault))(?=[:(]|\s*\Z)"
)


def provider(value: Any, table: Table) -> str | None:
    """Give a provider's OpenTelemetry name: `openai.chat` → `openai`, `bedrock` → `aws.bedrock`."""
    known = name(value)
    if known is None:
        return None
    known = known.lower()
    names = table.providers
    while known not in names:
        head, dot, _ = known.rpartition(".")
        if not dot or known in _DOTTED:
            return known
        known = head
    return names[known] or None


_DOTTED = {"aws.bedrock", "azure.ai.openai", "azure.ai.inference", "gcp.gemini", "gcp.vertex_ai", "gcp.gen_ai",
           "ibm.watsonx.ai"}  # fmt: skip


def finish_reason(value: Any, table: Table) -> str | None:
    """Give a finish reason as one of `FINISH_REASONS`; of a list, the first that is set."""
    if isinstance(value, str) and value[:1] in '["':
        parsed = structured(value)
        value = parsed if parsed is not None else value.strip('"')
    if isinstance(value, list):
        value = next((item for item in value if item), None)
    known = name(value)
    if known is None or known.lower() in ("none", "null", "unknown", "finish_reason_unspecified"):
        return None
    known = known.rpartition(".")[2].lower().replace("-", "_").replace(" ", "_")  # FinishReason.STOP
    return table.finish_reasons.get(known, "other")


def error_type(value: Any) -> str | None:
    """Give the class name of an error type without its module; None when it says nothing (`_OTHER`, `Exception`)."""
    known = name(value)
    if known is None:
        return None
    known = known.rpartition("::")[2] if "::" in known else known
    if "." in known and not known.replace(".", "").isdecimal() and " " not in known:
        known = known.rpartition(".")[2] or known
    return None if known.lower() in _GENERIC else known[:200]


def error_type_in(message: str) -> str | None:
    """Find the type that an error message starts with."""
    match = _TYPE_PREFIX.match(message[:1000].lstrip())
    return match[1] if match else None
