"""Categories of findings: the leaves of the TRAIL taxonomy, then operational ones. A model's spelling is forgiven."""

from __future__ import annotations

import difflib

CATEGORIES = (
    "Formatting Errors", "Instruction Non-compliance", "Goal Deviation", "Task Orchestration", "Tool Selection Errors",
    "Language-only", "Tool-related", "Resource Abuse", "Poor Information Retrieval", "Incorrect Problem Identification",
    "Context Handling Failures", "Tool Output Misinterpretation", "Authentication Errors", "Environment Setup Errors",
    "Resource Not Found", "Timeout Issues", "Resource Exhaustion", "Service Errors", "Tool Definition Issues",
    "Rate Limiting", "Incorrect Memory Usage", "Unhandled Error", "Latency Outlier", "Data Leak", "Broken Telemetry",
)  # fmt: skip
OTHER = "Unhandled Error"

_KNOWN = {name.lower(): name for name in CATEGORIES}


def category_of(said: object) -> str | None:
    """Return the category that is meant; None when none is near."""
    words = str(said or "").strip().lower().replace("_", " ")
    near = difflib.get_close_matches(words, _KNOWN, n=1, cutoff=0.8)
    return _KNOWN[near[0]] if near else None
