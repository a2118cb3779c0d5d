"""What stands around the findings on the page, beyond report.json: traces as drawn, the text around quotes, two spans.

Kept beside the report as `page.json`, so that the page can be made again, and masked, for a sink.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from halo_worker.report.model import Evidence, SpanRef
from halo_worker.report.states import Point

SCENE_FILE = "page.json"


class Part(BaseModel):
    """The base of every part: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TraceRow(Part):
    """One span of a drawn trace."""

    span_id: str
    parent_span_id: str | None = None
    name: str
    span_type: str | None = None
    start_ns: int | None = None
    duration_ns: int | None = None
    failed: bool = False


class Glance(Part):
    """A span as one looks at it first: what it is, what it was given, what it gave."""

    name: str
    span_type: str | None = None
    agent: str | None = None
    model: str | None = None
    start_ns: int | None = None
    duration_ns: int | None = None
    given: str = ""
    gave: str = ""
    error: str = ""


class Scene(BaseModel):
    """Keys are those of `key_of` and `quote_key`; everything in it may be missing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    traces: dict[str, list[TraceRow]] = {}  # by trace_id
    spans: dict[str, Glance] = {}
    excerpts: dict[str, str] = {}  # a quote with the text around it
    history: dict[str, list[Point]] = {}  # by issue_id, oldest first, without this window
    known_ids: list[str] | None = None  # of the ids that the answer names, those the window has; None: not asked


def key_of(ref: SpanRef | Evidence) -> str:
    """Name a span in a scene."""
    return f"{ref.trace_id}/{ref.span_id}"


def quote_key(item: Evidence) -> str:
    """Name a quote in a scene; two of one field share their first letters, never their place."""
    return f"{key_of(item)}/{item.field}/{item.quote[:80]}"


def read_scene(folder: Path) -> Scene:
    """Read the scene of a published report; an empty one where there is none, or none that can be read."""
    try:
        return Scene.model_validate_json((folder / SCENE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError):
        return Scene()
