"""Error bodies of endpoints, read alike: OpenAI's, and those of vLLM, FastAPI, Google, OpenRouter, DashScope. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MESSAGE_CHARACTERS = 2_000
# `detail` is FastAPI's, `metadata.raw` OpenRouter's for what the provider behind it answered.
_MESSAGES = ("message", "msg", "detail", "details", "error_msg", "error_message", "errorMessage", "error", "errors",
             "metadata", "raw", "title", "reason", "failed_generation")  # fmt: skip
_TAG = re.compile(r"<[^<>]{0,500}>")
_CODES = ("code", "error_code", "errorCode", "type", "status")


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an endpoint said of a failure. Empty strings where it did not say; `param` is the name of a part of the
    request (`max_tokens`, `messages`), without what it holds; `status` an HTTP status that stands in the body."""

    message: str = ""
    code: str = ""
    type: str = ""
    param: str = ""
    status: int | None = None

    @property
    def words(self) -> str:
        """All of it, to be searched."""
        return f"{self.code} {self.type} {self.message}"


def read(body: Any) -> ErrorBody:
    """Read a body as parsed from JSON, or as text, with or without the object `error` around it."""
    if isinstance(body, list) and len(body) == 1:  # Google
        body = body[0]
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    fields = body if isinstance(body, dict) else {}
    texts = list(dict.fromkeys(_texts(body)))
    codes = [fields[name] for name in _CODES if isinstance(fields.get(name), str) and not _number(fields[name])]
    return ErrorBody(
        message="; ".join(texts)[:MESSAGE_CHARACTERS],
        code=next(filter(None, codes), ""),
        type=str(fields.get("type") or ""),
        param=_param(fields),
        status=next((one for name in _CODES if 400 <= _number(one := fields.get(name)) < 600), None),
    )


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else 0


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        text = _TAG.sub(" ", value) if value.lstrip()[:1] == "<" else value  # a proxy answers with a page
        yield " ".join(text.split())
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        place = value.get("loc")
        names = ".".join(map(str, place)) + ": " if isinstance(place, list) else ""
        for name in _MESSAGES:
            for text in _texts(value.get(name)):
                if text:
                    yield names + text


def _param(fields: dict[str, Any]) -> str:
    named = fields.get("param")
    if isinstance(fields.get("detail"), list):  # FastAPI: {"loc": ["body", "max_tokens"], "msg": …, "type": …}
        places = [one.get("loc") for one in fields["detail"] if isinstance(one, dict)]
        named = next((place[1] for place in places if isinstance(place, list) and len(place) > 1), named)
    if isinstance(named, dict | list):
        named = json.dumps(named)
    return str(named or "").partition(".")[0].partition("[")[0]
