"""Where a field's value is found: an attribute, a member of its JSON, a span event, the span's name, …"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeAlias

from halo_receiver import wire
from halo_receiver.conventions import flattened, messages
from halo_receiver.conventions.readings import Lookup, Reading
from halo_receiver.conventions.values import dumps, loads, member


class Member(Lookup):
    """A member of the JSON in an attribute: the first path that leads somewhere."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        quotes = ("'", '"') if options.get("repr") else ('"',)
        self.by_c = not options.get("repr")
        self._first = tuple(f"{quote}{path[0]}{quote}" for path in self.members for quote in quotes)

    def narrowed(self) -> Any:
        """Let C look, which asks here where it is not sure."""
        return (self.key, self.members, self) if self.by_c else self

    def value(self, reading: Reading) -> Any:
        """Follow the paths."""
        text = reading.attributes.get(self.key)
        if type(text) is str and self.by_c and self.key not in reading.known:
            inner = wire.member(text, self.members)
            if inner is not False:
                return loads(inner) if type(inner) is bytes else inner
        # A whole request is not parsed for a member that is not in it: that took a third of an OpenInference LLM span.
        if type(text) is str and "\\u00" not in text and not any(step in text for step in self._first):
            return None
        holder = reading.parsed(self.key, bool(self.options.get("repr")))
        if holder is None:
            return None
        return next((found for path in self.members if (found := member(holder, path)) is not None), None)


class Sole(Lookup):
    """The value of the one member that a wrapper has, else the whole: `{"output": …}` → …"""

    def value(self, reading: Reading) -> Any:
        """Take the wrapper off."""
        holder = reading.parsed(self.key)
        if isinstance(holder, dict) and list(holder) == [self.options["sole"]]:
            return next(iter(holder.values()))
        return reading.attributes.get(self.key)


class Name(Lookup):
    """The span's name, or what stands after some words of it."""

    def may(self, attributes: Iterable[str], events: Collection[str]) -> bool:
        """Always."""
        return True

    def value(self, reading: Reading) -> Any:
        """Return the name."""
        after = self.options.get("after")
        return reading.span.name if after is None else reading.span.name.partition(after)[2]


class Literal(Lookup):
    """A fixed value."""

    def may(self, attributes: Iterable[str], events: Collection[str]) -> bool:
        """Always."""
        return True

    def value(self, reading: Reading) -> Any:
        """Return it."""
        return self.options["literal"]


class Resource(Lookup):
    """An attribute of the resource."""

    def may(self, attributes: Iterable[str], events: Collection[str]) -> bool:
        """Always."""
        return True

    def value(self, reading: Reading) -> Any:
        """Return it."""
        return reading.span.scope.resource_attributes.get(self.options["resource"])


class Event(Lookup):
    """An attribute of the last span event of a name."""

    def may(self, attributes: Iterable[str], events: Collection[str]) -> bool:
        """With an event of that name."""
        return self.options["event"] in events

    def value(self, reading: Reading) -> Any:
        """Look at the events from the last to the first."""
        wanted = self.options["event"]
        for event in reversed(reading.span.events):
            if event.name == wanted and (value := event.attributes.get(self.key)) is not None:
                return value
        return None


class Events(Lookup):
    """Messages, one for each span event of the given names."""

    def may(self, attributes: Iterable[str], events: Collection[str]) -> bool:
        """With an event of one of the names."""
        return not self.options["events"].keys().isdisjoint(events)

    def value(self, reading: Reading) -> Any:
        """Read them in the order sent."""
        roles = self.options["events"]
        found: list[dict[str, Any]] = []
        for event in reading.span.events:
            role = roles.get(event.name)
            if role is not None:
                read = messages.read(event.attributes.get(self.key), role) or ()
                reason = event.attributes.get("finish_reason")
                identifier = event.attributes.get("id")
                for message in read:
                    if isinstance(reason, str):
                        message.setdefault("finish_reason", reason)
                    if message["role"] == "tool" and isinstance(identifier, str):
                        message.setdefault("tool_call_id", identifier)
                found.extend(read)
        return found or None

    def messages(self, reading: Reading) -> tuple[Any, str | bool | None]:
        """List what the events say, each with its role."""
        roles, said = self.options["events"], []
        for event in reading.span.events:
            role = roles.get(event.name)
            if role is not None:
                values = event.attributes
                reason, identifier = values.get("finish_reason"), values.get("id")
                said.append(
                    (values.get(self.key), role, reason if isinstance(reason, str) else None,
                     identifier if isinstance(identifier, str) else None)
                )  # fmt: skip
        return said, None


class Stripped(Lookup):
    """The text below a `[HEADER]` line."""

    def value(self, reading: Reading) -> Any:
        """Return it without the header."""
        value = reading.attributes.get(self.key)
        if isinstance(value, str) and value.startswith("["):
            head, _, rest = value.partition("\n")
            return rest if head.endswith("]") and rest else value
        return value


class Flat(Lookup):
    """A list that was flattened into keys."""

    def may(self, attributes: Iterable[str], events: Collection[str]) -> bool:
        """With a key below the prefix."""
        prefixes = tuple(self.options[kind] for kind in ("flat", "flat_json", "flat_text") if kind in self.options)
        return any(key.startswith(prefixes) for key in attributes)

    def value(self, reading: Reading) -> Any:
        """Gather it, as a structure, as JSON text (flat_json) or as its texts (flat_text)."""
        for kind in ("flat", "flat_json", "flat_text"):
            if kind in self.options:
                found = flattened.gather(reading.attributes, self.options[kind])
                if found is None or kind == "flat":
                    return found
                if kind == "flat_text":
                    return "\n".join(_texts(found)) or None
                return dumps([item.get("document", item) if isinstance(item, dict) else item for item in found])
        return None

    def messages(self, reading: Reading) -> tuple[Any, str | bool | None]:
        """Name the attributes and the prefix."""
        return (reading.attributes, self.options["flat"]) if "flat" in self.options else (None, None)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in ([item] if key == "text" else _texts(item))]
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


class OnlyObject(Lookup):
    """An attribute that counts only when it holds a JSON object (a whole request or answer)."""

    def value(self, reading: Reading) -> Any:
        """Return the object."""
        found = reading.parsed(self.key)
        return found if isinstance(found, dict) else None

    def messages(self, reading: Reading) -> tuple[Any, str | bool | None]:
        """Return the text of an object."""
        value = reading.attributes.get(self.key)
        return (value if isinstance(value, str) and value[:1] == "{" else None), None


class Choices(Lookup):
    """Pydantic AI format 1: one list of events, of which gen_ai.choice is the answer."""

    def value(self, reading: Reading) -> Any:
        """Return the entries that are, or are not, the answer."""
        found = reading.parsed(self.key)
        if not isinstance(found, list):
            return None
        wanted = self.options["choices"]
        return [e for e in found if isinstance(e, dict) and (e.get("event.name") == "gen_ai.choice") is wanted] or None

    def messages(self, reading: Reading) -> tuple[Any, str | bool | None]:
        """Return the text of the list, and which of its entries."""
        value = reading.attributes.get(self.key)
        return (value if isinstance(value, str) else None), self.options["choices"]


class Answer(Lookup):
    """One assistant message whose parts lie under keys of their own."""

    def may(self, attributes: Iterable[str], events: Collection[str]) -> bool:
        """With any of its parts."""
        return any(self.options[part] in attributes for part in ("text", "object", "tool_calls", "files"))

    def value(self, reading: Reading) -> Any:
        """Put it together."""
        attributes, options = reading.attributes, self.options
        text = attributes.get(options["text"]) or attributes.get(options["object"])
        calls, files = reading.parsed(options["tool_calls"]), reading.parsed(options["files"])
        if not text and not calls and not files:
            return None
        message = {"role": "assistant", "content": text if isinstance(text, str) else None, "tool_calls": calls or []}
        if files:
            message["files"] = files
        reasoning = attributes.get(options["reasoning"])
        return [{**message, "reasoning": reasoning} if isinstance(reasoning, str) else message]

    def messages(self, reading: Reading) -> tuple[Any, str | bool | None]:
        """Name the texts that are there; of calls and files their JSON."""
        attributes, options = reading.attributes, self.options
        text = attributes.get(options["text"]) or attributes.get(options["object"])
        calls, files = attributes.get(options["tool_calls"]), attributes.get(options["files"])
        if not text and not any(isinstance(value, str) and value[:2] == "[{" for value in (calls, files)):
            return None, None
        reasoning = attributes.get(options["reasoning"])
        said = {"content": text or None, "tool_calls": calls, "files": files,
                "reasoning": reasoning if isinstance(reasoning, str) else None}  # fmt: skip
        return {"role": "assistant"} | {key: value for key, value in said.items() if value is not None}, None


Source: TypeAlias = str | Lookup | tuple[str, tuple[tuple[str, ...], ...], Lookup]
_CLASSES: tuple[tuple[str, type[Lookup]], ...] = (
    ("literal", Literal), ("name", Name), ("resource", Resource), ("event", Event), ("events", Events),
    ("strip", Stripped), ("sole", Sole), ("flat", Flat), ("flat_json", Flat), ("flat_text", Flat),
    ("only_object", OnlyObject), ("choices", Choices), ("text", Answer), ("member", Member), ("key", Lookup),
)  # fmt: skip


def compile_source(source: Any, field: str) -> Source:
    """Turn one source of mapping.toml into what `first` reads."""
    if isinstance(source, str):
        return source
    for option, kind in _CLASSES:
        if option in source:
            return kind(source)
    raise ValueError(f"mapping.toml: {field} has a source that names no place: {source}")


def first_in_python(reading: Reading, sources: tuple[Source, ...]) -> Any:
    """Return the first value that is not empty, or None."""
    attributes = reading.attributes
    for source in sources:
        if type(source) is str:
            value = attributes.get(source)
        else:
            value = (source[2] if type(source) is tuple else source).read(reading)  # type: ignore[union-attr]
        if value is not None and value != "":
            return value
    return None


first: Callable[[Reading, tuple[Source, ...]], Any] = wire.first() or first_in_python
