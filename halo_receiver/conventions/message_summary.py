"""The summary of a list of messages: their JSON, and the texts that other columns take from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from halo_receiver import wire
from halo_receiver.conventions import messages
from halo_receiver.conventions.messages import last_text
from halo_receiver.conventions.parts import Message
from halo_receiver.conventions.sources import Flat, Reading, Source
from halo_receiver.conventions.values import dumps

_BRACKETS = ("[", "{")
_MESSAGES = (("messages",),)
_INSTRUCTIONS = (("system",), ("system_instruction",), ("instructions",), ("config",))  # as messages._read_object

Reason = Callable[[Any], str | None]


class MessageSummary(NamedTuple):
    """A list of messages, summarized. `wire.messages` makes the same of those in their usual forms."""

    json: str
    first_role: str
    asked: str | None  # the last text of a user or a tool
    by_user: str | None
    by_assistant: str | None
    answer: str | None  # all that the assistant said
    finish_reason: str | None  # of the last message

    def after(self, system: MessageSummary) -> MessageSummary:
        """Return both as one list."""
        return MessageSummary(
            f"{system.json[:-1]},{self.json[1:]}", system.first_role, self.asked or system.asked,
            self.by_user or system.by_user, self.by_assistant or system.by_assistant, self.answer, self.finish_reason,
        )  # fmt: skip


def summarize(found: list[Message], reason_of: Reason) -> MessageSummary:
    """Summarize messages."""
    for message in found:
        if "finish_reason" in message:
            message["finish_reason"] = reason_of(message["finish_reason"])
    return MessageSummary(
        dumps(found), found[0]["role"], last_text(found, ("user", "tool")), last_text(found, ("user",)),
        last_text(found, ("assistant",)), messages.all_text(found), found[-1].get("finish_reason"),
    )  # fmt: skip


def read(reading: Reading, sources: Iterable[Source], role: str, reason_of: Reason) -> MessageSummary | None:
    """Return what the first source with messages holds; a bare text is one message of `role`."""
    attributes, found = reading.attributes, None
    for source in sources:
        if type(source) is str:
            value = attributes.get(source)
        else:
            if type(source) is Flat and (prefix := source.options.get("flat")) and source.applies(reading):
                found = wire.messages(attributes, prefix, role, reason_of)
            value = source.read(reading) if found is None else None  # type: ignore[union-attr]
        if type(value) is str and value[:1] in _BRACKETS:
            found = wire.messages(value, None, role, reason_of)
            if found is None and value[:1] == "{" and (text := _of_request(value)):
                found = wire.messages(text, None, role, reason_of)
        if found is not None:
            return MessageSummary(*found)
        if value is not None and value != "" and (listed := messages.read(value, role)):
            return summarize(listed, reason_of)
    return None


def _of_request(text: str) -> str:
    """Return the JSON of the messages in a whole request, where they are all that it says; else an empty text."""
    if wire.member(text, _INSTRUCTIONS) is not None:  # or C is not sure
        return ""
    found = wire.member(text, _MESSAGES)
    return found.decode() if type(found) is bytes and found[:1] == b"[" else ""
