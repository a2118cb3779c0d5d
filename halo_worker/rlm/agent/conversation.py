"""One agent's conversation, kept small: old results are replaced by a digest, and where room is short by a line.

Both name the item that has the whole. No model is asked for it. Results are replaced oldest first and several at
once, so that the beginning of the conversation stays byte-equal for most turns, and providers' prefix caches hit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from halo_worker.rlm.agent import prompts
from halo_worker.rlm.messages import Message, ToolCall
from halo_worker.rlm.tool import ToolError
from halo_worker.rlm.truncation import truncate, truncate_json

CONTEXT_TOKENS = 120_000  # from which old results are elided; less once a model has refused so many
ROOM_AFTER = 0.6  # of it is left filled by an elision, so that the next one is far
SPARED_TURNS = 3  # the results of the newest turns are kept whole: those of one turn are read together
SMALL_BYTES = 400  # a result below is not worth a line in its place
# Every turn sends all of the conversation again, so that an old result costs its size times the turns that are left.
# Once those that are not the newest hold a tenth of the window, they are shortened together: ids and beginnings of
# texts stay. Each time costs what providers had cached from there on, and what the model has to look up again.
STALE_SHARE = 0.1
STALE_BYTES = 100_000  # at the least, where the window is the usual one or larger
STALE_BYTES_OF_SMALL = 24_000  # less would break the cached prefix every few turns
BYTES_A_TOKEN = 3.5
DIGEST_BYTES = 700
ITEMS_NAMED = 20  # of elided results, in the error for an id that is none
LONG = 2 * DIGEST_BYTES  # a result below is not worth a digest
_SHORTENED = re.compile(r'\[[^\n]*get_context_item\("item-\d+"\)[^\n\]]*\]')
Estimate = Callable[[Sequence[Message]], int]


@dataclass(slots=True)
class Conversation:
    """Messages, and the results that were elided from them, by item id."""

    messages: list[Message] = field(default_factory=list)
    items: dict[str, tuple[str, str]] = field(default_factory=dict)  # id → name, text
    tokens: int = CONTEXT_TOKENS

    def add(self, message: Message) -> None:
        """Append a message. A result is one of role tool, or of role user with a name (an action in plain text)."""
        self.messages.append(message)

    def fit(self, estimate: Estimate) -> int:
        """Shorten what is stale, and elide if it is fuller than allowed; return how many results."""
        elided = self._shorten()
        if estimate(self.messages) > self.tokens:
            elided += self._elide(estimate, self.tokens * ROOM_AFTER, SPARED_TURNS)
        if estimate(self.messages) > self.tokens:
            elided += self._elide(estimate, self.tokens * ROOM_AFTER, 1)
        return elided

    def overflowed(self, estimate: Estimate) -> bool:
        """Lower the limit, for the model refused this much, and elide. False when there is nothing left to elide.

        What was not seen goes last: only where nothing else is left, and the run would end otherwise.
        """
        now = estimate(self.messages)
        self.tokens = min(self.tokens, int(now * 0.9))
        goal = self.tokens * ROOM_AFTER
        gone = self._elide(estimate, goal, SPARED_TURNS)
        if estimate(self.messages) > self.tokens:
            gone += self._elide(estimate, goal, 1)
        if not gone:
            gone = self._elide(estimate, goal, 0)
        return gone > 0

    def stub(self, index: int) -> Message:
        """Replace a result by a line."""
        message = self.messages[index]
        return replace(message, content=self._place(message))

    def _digest(self, index: int) -> Message:
        """Replace a result by a line and a digest."""
        message = self.messages[index]
        text = message.content or ""
        inside = prompts.inside(text)
        short = prompts.as_data(message.name or "result", truncate_json(inside, DIGEST_BYTES), DIGEST_BYTES + 200)
        return replace(message, content=f"{self._place(message)} In short:\n{short}")

    def _place(self, message: Message) -> str:
        """Keep the text of a result under an id, and return the line that names it."""
        text = message.content or ""
        if shortened := _SHORTENED.match(text):
            return shortened.group(0)
        known = next((one for one, (_, kept) in self.items.items() if kept == text), None)
        item_id = known or f"item-{len(self.items) + 1}"
        name = message.name or "result"
        self.items[item_id] = (name, text)
        return prompts.elided(item_id, name, len(text.encode("utf-8", "replace")))

    def withhold(self) -> int:
        """Withhold the newest results, to which a provider's filter objected; return how many."""
        gone = 0
        for index in range(len(self.messages) - 1, -1, -1):
            message = self.messages[index]
            if not _is_result(message):
                break
            if message.content != prompts.WITHHELD:
                self.messages[index] = replace(message, content=prompts.WITHHELD)
                gone += 1
        return gone

    def item(self, item_id: str, limit: int) -> str:
        """Return an elided result, truncated to `limit` bytes. Raises ToolError naming the items that there are."""
        found = self.items.get(item_id.strip().strip("'\""))
        if found is None:
            known = ", ".join(list(self.items)[-ITEMS_NAMED:]) or "none"
            raise ToolError(f"there is no item {item_id[:80]!r}. Elided so far: {known}")
        return truncate(found[1], limit)

    def state(self) -> dict[str, Any]:
        """Return the conversation as a checkpoint keeps it."""
        return {
            "messages": [asdict(message) for message in self.messages],
            "items": self.items,
            "tokens": self.tokens,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, read back from JSON."""
        self.messages = [_message(one) for one in state["messages"]]
        self.items = {key: (name, text) for key, (name, text) in state["items"].items()}
        self.tokens = state["tokens"]

    def _shorten(self) -> int:
        """Replace the results that are not the newest by digests, once they are large enough together."""
        texts = {index: self.messages[index].content or "" for index in self._results(SPARED_TURNS)}
        whole = [index for index, text in texts.items() if len(text) > LONG and not _SHORTENED.match(text)]
        if sum(len(texts[index]) for index in whole) < self._most_stale():
            return 0
        for index in whole:
            self.messages[index] = self._digest(index)
        return len(whole)

    def _most_stale(self) -> int:
        """Return how many bytes of results that are not the newest may be whole."""
        least = STALE_BYTES if self.tokens >= CONTEXT_TOKENS else STALE_BYTES_OF_SMALL
        return max(least, int(self.tokens * STALE_SHARE * BYTES_A_TOKEN))

    def _results(self, spared: int) -> list[int]:
        """Return the places of the results before the newest `spared` turns."""
        turns = [index for index, one in enumerate(self.messages) if one.role == "assistant"]
        end = len(self.messages) if not spared else turns[-spared] if len(turns) >= spared else 0
        return [index for index, one in enumerate(self.messages[:end]) if _is_result(one)]

    def _elide(self, estimate: Estimate, goal: float, spared: int) -> int:
        gone = 0
        for index in self._results(spared):
            if gone and gone % 4 == 0 and estimate(self.messages) <= goal:
                break
            if len(self.messages[index].content or "") > SMALL_BYTES:
                self.messages[index] = self.stub(index)
                gone += 1
        return gone


def _is_result(message: Message) -> bool:
    return message.role == "tool" or (message.role == "user" and message.name is not None)


def _message(value: dict[str, Any]) -> Message:
    return Message(**{**value, "tool_calls": tuple(ToolCall(**call) for call in value["tool_calls"])})
