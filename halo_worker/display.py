"""Text of strangers, as people, terminals and agents may read it.

Names, errors and answers in traces were written by others, and so was what a model says of them. Whatever shows such
text goes through here, so that it reads as what it is: data, in its place, without effect.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

NAME_CHARACTERS = 80  # of a name inside of a sentence
VALUE_CHARACTERS = 200  # of a name that stands alone, as a value of a breakdown
LINE_CHARACTERS = 2000  # of a message to a person

# What changes what a reader sees without being seen: controls, directions, zero widths, fillers, tags, selectors,
# halves of pairs (Unicode's Cc but tab and newline, Cf, Zl, Zp, Cs and Default_Ignorable_Code_Point). Joiners and
# emoji selectors stay where they join: in scripts and emoji, which are not ASCII.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U00013430-\U0001345f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])|(?<![^\x00-\x7f]|[0-9#*])[\ufe0e\ufe0f]"
)
_BREAK = re.compile(r"[\t\n][ \t\n]*")
_WORD = r"\w[\w.:/@+#-]*"
_PLAIN = re.compile(rf"{_WORD}(?: ⇄ {_WORD})*")


def visible(text: str) -> str:
    """Show what cannot be seen as what it is, so that a quote reads as it is stored. Lines and tabs stay."""
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text.replace("\r\n", "\n"))


def cut(text: str, limit: int) -> str:
    """Shorten text to a limit."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def one_line(text: str, limit: int = LINE_CHARACTERS) -> str:
    """Write text on one line of at most `limit` characters."""
    return cut(_BREAK.sub(" ", visible(text[: limit + 1])).strip(), limit)


def named(name: str, limit: int = NAME_CHARACTERS) -> str:
    """Write a name from a trace inside of a sentence: on one line, truncated, and in quotes unless it is one word."""
    shown = one_line(name, limit)
    return shown if _PLAIN.fullmatch(shown) else '"' + shown.replace('"', "'") + '"'


def json_for_terminal(text: str) -> str:
    """Return the same JSON with what cannot be seen written as escapes: a terminal would obey some of it."""

    def escaped(match: re.Match[str]) -> str:
        units = match[0].encode("utf-16-be", "surrogatepass").hex()
        return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))

    return _UNSEEN.sub(escaped, text)


def unclosed(text: str, mark: str) -> str:
    """Return text that can stand between `<mark>` and `</mark>`: nothing in it ends or begins them."""
    return re.sub(rf"<(?=\s*+(?:/\s*+)?{mark}\b)", r"<\\", text, flags=re.IGNORECASE)


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine, by its host alone: nothing is looked up."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def masked_url(url: str, *, path: bool = False) -> str:
    """Show where a URL leads without what may be secret in it: user and password, query, fragment, and the path."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL that cannot be read"
    hidden = "?…" if parts.query or parts.fragment else ""
    where = parts.path + hidden if path else "/" + ("…" if parts.path.strip("/") or hidden else "")
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    return one_line(f"{scheme}{parts.hostname or ''}{port}{where}")
