"""The summary of a list of messages: their JSON, and the texts that other columns take from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from halo_receiver import wire
from halo_receiver.conventions import messages
from halo_receiver.conventions.messages import last_text
from halo_receiver.conventions.parts import FLAGS, Message
from halo_receiver.conventions.readings import Reading
from halo_receiver.conventions.sources import Source
from halo_receiver.conventions.values import dumps

wire.learn(FLAGS, messages.ROLES)

Reason = Callable[[Any], str | None]


class MessageSummary(NamedTuple):
    """A list of messages, summarized. `wire.messages` makes the same where it is sure."""

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
    for source in sources:
        how = None
        if type(source) is str:
            where = reading.attributes.get(source)
        elif source.applies(reading):  # type: ignore[union-attr]
            where, how = source.messages(reading)  # type: ignore[union-attr]
        else:
            continue
        found = None if where is None else wire.messages(where, how, role, reason_of)
        if found:
            return MessageSummary(*found)
        if found is None:
            value = where if type(source) is str else source.read(reading)  # type: ignore[union-attr]
            if value is not None and value != "" and (listed := messages.read(value, role)):
                return summarize(listed, reason_of)
    return None
