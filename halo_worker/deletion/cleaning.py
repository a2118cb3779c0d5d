"""What reports and alerts say of deleted traces: quotes and texts become `[deleted]`, counts and ids stay.

A finding of which traces are left keeps its words, for those show the same; one of which none is left keeps what halo
says of every such finding. Pure functions of JSON, so that reports of every version are cleaned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

DELETED = "[deleted]"
MIN_CHARACTERS = 4  # of a text that is looked for inside of others
_TEXTS = ("title", "description", "signature", "severity_reason", "why")
_FACTS: dict[str, Any] = {"calls": None, "told_otherwise": None, "common": [], "place": None}


def cleaned(document: Any, gone: Collection[str], words: Sequence[str]) -> Any:
    """Return a JSON document without what it quotes of traces that are gone, and without `words`."""
    theirs = {*_texts_of(document, gone)} - {*_texts_of(document, gone, left=True)}
    found = sorted({*words, *theirs}, key=len, reverse=True)
    return _replaced(_without_quotes(document, gone), [text for text in found if len(text) >= MIN_CHARACTERS], words)


def touches(document: Any, gone: Collection[str], words: Sequence[str]) -> bool:
    """Say whether a document tells anything of the traces, or holds a word."""
    return any(ids & set(gone) for ids in map(_traces, _objects(document))) or any(
        word in text for text in _strings(document) for word in words
    )


def _texts_of(document: Any, gone: Collection[str], *, left: bool = False) -> Iterator[str]:
    """Yield the quotes of traces that are gone, and the texts of findings of which none is left; or those of others."""
    for item in _objects(document):
        if isinstance(item.get("quote"), str) and (item.get("trace_id") in gone) != left:
            yield item["quote"]
        if "evidence" in item and _is_gone(item, gone) != left:
            yield from (item[name] for name in _TEXTS if isinstance(item.get(name), str))


def _is_gone(item: dict[str, Any], gone: Collection[str]) -> bool:
    """Say whether an object has evidence, and all the traces that it names are gone."""
    traces = _traces(item)
    return bool(item.get("evidence")) and bool(traces) and traces <= set(gone)


def _traces(item: dict[str, Any]) -> set[str]:
    found = {str(item["trace_id"])} if "trace_id" in item else set()
    for name in ("evidence", "counter_evidence", "affected"):
        rows = item.get(name)
        found |= {str(row["trace_id"]) for row in rows if "trace_id" in row} if isinstance(rows, list) else set()
    return found


def _without_quotes(value: Any, gone: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_without_quotes(item, gone) for item in value]
    if not isinstance(value, dict):
        return value
    item = {name: _without_quotes(part, gone) for name, part in value.items()}
    if item.get("trace_id") in gone and "quote" in item:
        item["quote"] = DELETED
    if _traces(value) & set(gone) and "evidence" in item:
        item |= {name: empty for name, empty in _FACTS.items() if name in item}
    if _is_gone(value, gone):
        item |= {name: DELETED for name in _TEXTS if isinstance(item.get(name), str)}
    return item


def _replaced(value: Any, texts: Sequence[str], words: Sequence[str]) -> Any:
    def written(text: str) -> str:
        for one in texts:
            text = text.replace(one, DELETED)
        return DELETED if text in words else text

    return _mapped(value, written)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return {name: _mapped(item, change) for name, item in value.items()} if isinstance(value, dict) else value


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _objects(item)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
