"""Classifies the errors of one endpoint: retryable or not, and what it does not support (parameters, limits). Pure."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from halo_worker.errors import ModelRefused, ModelUnavailable

MIN_OUTPUT_TOKENS = 256  # asked for, however little room there seems to be
RETRY_AFTER_MOST = 600.0

_CONTEXT = re.compile(
    r"context.{0,20}(length|window|size)|maximum context|too many tokens|(prompt|input) is too long|"
    r"exceeds? the (available|maximum) (context|input)|reduce the length",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient.(quota|credit|fund|balance)|exceeded your current quota|billing.{0,6} limit|credit balance|"
    r"out of credits",
    re.IGNORECASE,
)
_TRY_AGAIN = re.compile(r"(?:retry|try again) in (\d+(?:\.\d+)?) ?(ms|s|m)\b", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_FILTER = re.compile(r"content.?filter|content management policy|safety system", re.IGNORECASE)
_BY_STATUS = {401: "invalid_api_key", 402: "insufficient_quota", 403: "permission_denied", 404: "model_not_found",
              413: "context_length_exceeded"}  # fmt: skip
# Parameters that an endpoint may not support and a request can omit; without `tools` they are described as text.
_OPTIONAL = ("max_completion_tokens", "max_tokens", "max_output_tokens", "parallel_tool_calls", "reasoning_effort",
             "reasoning", "temperature", "stream_options", "stream", "response_format", "text", "store",
             "prompt_cache_key", "tools")  # fmt: skip
_NOT_KNOWN = re.compile(
    r"unsupported|not support|unknown|unrecognized|unexpected|not permitted|extra (inputs|fields)|"
    r"does not (accept|take)|no endpoints found|cannot use tools with stream|"
    r"invalid (parameter|field|argument)|not allowed|not available",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Endpoint:
    """What is known of one endpoint from its errors."""

    without: set[str] = field(default_factory=set)  # parameters of a request that it refused
    context: int | None = None  # tokens of input and output together, once an error names it
    max_output_tokens: int | None = None  # as configured, or the limit that an error names

    def classify(self, error: Exception, body: dict[str, Any], *, timeout: float) -> ModelUnavailable | ModelRefused:
        """Return an error as ModelUnavailable where a retry may succeed, else as ModelRefused."""
        status = getattr(error, "status_code", None)
        said = getattr(error, "body", None)
        said = said if isinstance(said, dict) else {}
        code = str(said.get("code") or getattr(error, "code", None) or said.get("type") or "")
        message = str(said.get("message") or describe(error))[:1_000]
        words = f"{code} {said.get('type') or ''} {message}"
        if isinstance(error, TimeoutError) or type(error).__name__ == "APITimeoutError":
            return ModelUnavailable(f"no answer within {timeout:g} s", received=0)
        wait = _retry_after(error, message)
        # Some report a limit per minute as an exceeded quota as well, but then with the time to wait.
        if _QUOTA.search(words) and status in (None, 402, 403, 429) and (wait is None or code == "insufficient_quota"):
            return ModelRefused(message, code="insufficient_quota", hint="the account has no credit left")
        if status in (None, 400, 413, 422, 500) and _CONTEXT.search(words):
            if self._fits(words):
                return ModelUnavailable("less room for the answer than asked for: asked for less", retry_after=0.0)
            return ModelRefused(message, code="context_length_exceeded")
        if status in (None, 400, 403, 422) and _FILTER.search(words):
            return ModelRefused(message, code="content_filter")
        if status in (400, 404, 422, 500, 501) and (name := self._optional(said, words, body)):
            self.without.add(name)
            return ModelUnavailable(f"the endpoint does not take {name}: asked again without it", retry_after=0.0)
        if status is None or status in (408, 409, 425, 429) or status >= 500:
            if status is None and code and _permanent(code):
                return ModelRefused(message, code=code)
            asked = status or 200
            return ModelUnavailable(
                f"{asked} {message}" if status else message,
                retry_after=wait,
                received=None if status else 0,
            )
        if status == 404 and not re.search("model", words, re.IGNORECASE):
            code = code or "not_found"
        return ModelRefused(
            f"{status} {message}",
            code=_BY_STATUS.get(status) or code or "invalid_request",
            hint=_HINTS.get(status, ""),
        )

    def _fits(self, words: str) -> bool:
        """Whether the prompt alone fits into the context. Keeps the context's size, if the error names it."""
        context = re.search(r"(?:maximum|max)[^.]{0,40}?context[^.]{0,40}? (\d{3,8})", words, re.IGNORECASE)
        prompt = re.search(r"(\d{1,8}) (?:tokens )?(?:in|from|of) (?:the|your|text) ?(?:messages|input|prompt)", words)
        prompt = prompt or re.search(r"prompt contains (?:at least )?(\d{1,8})", words)
        if self.context is not None or context is None or prompt is None:
            return False
        if int(prompt[1]) + MIN_OUTPUT_TOKENS >= int(context[1]):
            return False
        self.context = int(context[1])
        return True

    def _optional(self, said: dict[str, Any], words: str, body: dict[str, Any]) -> str | None:
        """The parameter that the endpoint does not support, if the request can omit it."""
        named = str(said.get("param") or "").partition(".")[0].partition("[")[0]
        if (most := _lower_limit(words, body)) is not None:
            self.max_output_tokens = most
            return "so many output tokens"
        if named in _OPTIONAL and named in body and (_NOT_KNOWN.search(words) or named not in ("tools", "text")):
            return named
        if not _NOT_KNOWN.search(words):
            return None
        return next((name for name in _OPTIONAL if name in body and re.search(rf"\b{name}\b", words)), None) or (
            "tools" if "tools" in body and re.search(r"\b(tool|function)[ _-]?(use|call|choice)", words, re.I) else None
        )


def _lower_limit(words: str, body: dict[str, Any]) -> int | None:
    """The limit of output tokens, when the error says that more were asked for."""
    asked = next((body[name] for name in _OPTIONAL[:3] if name in body), 0)
    if not any(name in words for name in _OPTIONAL[:3]) or not re.search(r"at most|maximum|too large|exceed", words):
        return None
    numbers = [int(one) for one in re.findall(r"\b\d{3,7}\b", words) if int(one) < asked]
    return max(numbers, default=None)


_HINTS = {
    401: "the key is not accepted: OPENAI_API_KEY, or [model] api_key",
    403: "the key may not use this model",
    404: "no such model, or no such path at this base URL: [model] name, base_url, api",
}


def _permanent(code: str) -> bool:
    return code in ("invalid_api_key", "model_not_found", "invalid_request_error", "invalid_prompt")


def describe(error: BaseException) -> str:
    """Return an error's text with its cause, for the library's is only 'Connection error.'"""
    cause = error.__cause__
    text = str(error) or type(error).__name__
    return f"{text} ({type(cause).__name__}: {cause})" if cause is not None else text


def _retry_after(error: BaseException, message: str) -> float | None:
    """The wait that a provider asks for, in seconds: by `retry-after-ms`, `retry-after` or in the text."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        if value := headers.get("retry-after-ms"):
            return min(max(float(value) / 1_000, 0.0), RETRY_AFTER_MOST)
        if not (value := headers.get("retry-after")):
            said = _TRY_AGAIN.search(message)
            return min(float(said[1]) * _UNITS[said[2].lower()], RETRY_AFTER_MOST) if said else None
        try:
            seconds = float(value)
        except ValueError:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(seconds, 0.0), RETRY_AFTER_MOST)
    except (ValueError, TypeError, OverflowError):
        return None
