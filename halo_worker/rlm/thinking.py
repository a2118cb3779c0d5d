"""A model's thinking aloud, taken off the text of its answer. Pure.

Endpoints that do not separate the two send thinking between tags. Where the chat template writes the opening tag, only
the closing one comes back. A tag in quotes or backticks is a quotation, and text that is JSON as it stands has none.
"""

from __future__ import annotations

import json
import re

# (opening, closing) as chat templates write them.
_TAGS = (
    ("<think>", "</think>"),  # DeepSeek, Qwen, GLM, MiniMax, Nemotron
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),  # Mistral
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere
    ("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss
    ("<|channel>thought", "<channel|>"),  # Gemma
)
_BLOCK = re.compile(  # at the beginning also one without an end
    "|".join(
        rf"\A\s*{re.escape(begin)}.*?(?:{re.escape(end)}|\Z)|^[ \t]*{re.escape(begin)}.*?{re.escape(end)}"
        for begin, end in _TAGS
    ),
    re.DOTALL | re.MULTILINE,
)
_FINAL = re.compile(r"(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>|<\|return\|>\s*\Z")  # gpt-oss
_MARKS = (*(tag for pair in _TAGS for tag in pair), "<|channel|>final")
_LONE_END = re.compile(rf"(?<![\"'`])(?:{'|'.join(re.escape(end) for _, end in _TAGS[:9])})(?![\"'`])")


def without_thinking(text: str) -> str:
    """Return what a model says beside its thinking; empty where it did not come to an end of it."""
    if not any(tag in text for tag in _MARKS) or _is_json(text):
        return text
    text = _FINAL.sub("", text)
    text = _BLOCK.sub("", text)
    if (end := _LONE_END.search(text)) is not None:
        text = text[end.end() :]
    return text.strip()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
