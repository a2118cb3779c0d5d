"""A model's answer, which is Markdown by someone who read what strangers wrote: as HTML, Markdown and Slack's mrkdwn.

Parsed by markdown-it without raw HTML, and written anew, so that what is left is structure and words. Nothing in it
can be followed or fetched: a link shows where it leads, an image its words. An id that the window does not have is
marked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape

from markdown_it import MarkdownIt
from markdown_it.token import Token

from halo_worker.display import visible

ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b")
UNKNOWN = "not in this window"
MAX_ANSWER = 100_000


@cache
def _parser() -> MarkdownIt:
    # "commonmark" without its raw HTML; tables, for models like them.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable(["html_block", "html_inline"])


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one form writes words and marks; blocks are written by the functions below."""

    text: Callable[[str], str]
    code: Callable[[str], str]
    marks: dict[str, tuple[str, str]]  # strong, em
    line: str  # a hard break
    unknown: Callable[[str], str]


def _inline(tokens: Sequence[Token], dialect: Dialect, known: Collection[str] | None) -> str:
    written: list[str] = []
    targets: list[str] = []
    for token in tokens:
        kind = token.type.removesuffix("_open").removesuffix("_close")
        if token.type == "text":
            written.append(_with_ids(token.content, dialect.text, dialect, known))
        elif token.type == "code_inline":
            written.append(_with_ids(token.content, dialect.code, dialect, known, whole=True))
        elif token.type in ("softbreak", "hardbreak"):
            written.append("\n" if token.type == "softbreak" else dialect.line)
        elif kind in dialect.marks:
            written.append(dialect.marks[kind][token.nesting < 0])
        elif token.type == "link_open":
            targets.append(str(token.attrs.get("href", "")))
        elif token.type == "link_close":
            target = targets.pop() if targets else ""
            if not written or dialect.text(target) != written[-1]:  # an address shown as itself is said once
                written.append(dialect.text(f" ({target})"))
        elif token.type == "image":
            written.append(dialect.text(f"[image: {token.content}] ({token.attrs.get('src', '')})"))
        else:
            written.append(dialect.text(token.content))
    return "".join(written)


def _with_ids(
    text: str, write: Callable[[str], str], dialect: Dialect, known: Collection[str] | None, *, whole: bool = False
) -> str:
    """Write text, with a mark after each id that is not known."""
    if known is None:
        return write(text)
    if whole:  # the mark stands behind a piece of code, not in it
        lost = [match[0] for match in ID.finditer(text) if match[0] not in known]
        return write(text) + (dialect.unknown(", ".join(lost) if len(lost) > 1 else "") if lost else "")
    parts, at = [], 0
    for match in ID.finditer(text):
        if match[0] not in known:
            parts += [write(text[at : match.end()]), dialect.unknown("")]
            at = match.end()
    return "".join((*parts, write(text[at:])))


def to_html(answer: str, known: Collection[str] | None = None) -> str:
    """Write an answer as HTML that holds no link, no image and no attribute of its own."""
    dialect = Dialect(
        text=lambda text: escape(text),
        code=lambda text: f"<code>{escape(text)}</code>",
        marks={"strong": ("<strong>", "</strong>"), "em": ("<em>", "</em>")},
        line="<br>\n",
        unknown=lambda which: f' <small class="unknown">{escape(which)}{" " if which else ""}{UNKNOWN}</small>',
    )
    # Of the report's own headings the answer is a part: its highest is the page's third.
    names = {"h1": "h3", "h2": "h3", "h3": "h4", "h4": "h5", "h5": "h5", "h6": "h5"}
    written = []
    for token in _parser().parse(visible(answer[:MAX_ANSWER])):
        if token.type == "inline":
            written.append(_inline(token.children or [], dialect, known))
        elif token.type in ("fence", "code_block"):
            written.append(f"<pre><code>{escape(token.content)}</code></pre>\n")
        elif token.type == "hr":
            written.append("<hr>\n")
        elif token.tag and not token.hidden:
            tag = names.get(token.tag, token.tag)
            written.append(f"<{'/' if token.nesting < 0 else ''}{tag}>" + ("\n" if token.nesting < 0 else ""))
        elif token.hidden and token.nesting < 0:
            written.append("\n")
    return "".join(written)


# As in markdown.py: an underscore within a word is inert.
_ACTIVE = re.compile(r"([\\`*\[\]<>|#~&!]|(?<![^\W_])_|_(?![^\W_]))")


def inert(text: str) -> str:
    """Take from text what Markdown would make markup of."""
    return _ACTIVE.sub(r"\\\1", text)


def _longest_run(text: str) -> int:
    return max(map(len, re.findall(r"`+", text)), default=0)


def fenced(text: str) -> str:
    """Write text as a block of code, which it cannot leave."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def code_span(text: str) -> str:
    """Write text as Markdown's inline code, which it cannot leave."""
    fence = "`" * (_longest_run(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _mark(which: str) -> str:
    return f" *({which}{' ' if which else ''}{UNKNOWN})*"


MARKDOWN = Dialect(inert, code_span, {"strong": ("**", "**"), "em": ("*", "*")}, "\\\n", _mark)


def to_markdown(answer: str, known: Collection[str] | None = None, *, level: int = 2) -> str:
    """Write an answer as Markdown of the same structure; its headings begin below `level`."""

    def heading(tag: str, text: str) -> str:
        return f"{'#' * min(6, int(tag[1]) + level)} {text}"

    return _blocks(answer, MARKDOWN, known, heading, "- ", markdown=True)


def slack_text(text: str) -> str:
    """Make text inert for Slack: no links, mentions or marks of its own."""
    for mark, like in (("*", "∗"), ("_", "ˍ"), ("`", "ˋ"), ("~", "∼")):
        text = text.replace(mark, like)
    return slack_escaped(text)


def slack_escaped(text: str) -> str:
    """Escape what Slack reads as markup: a link, a mention and an entity all need one of these."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# What Slack would read as marks is written as it is in a code span. No backtick can be in one.
_CODE = re.compile(r"(?<![\w`])[\w.:/@+#-]*\w_[\w.:/@+#-]*\w(?![\w`])|(?<![\w`])_+\w+(?![\w`])")
_PLAIN_NAME = re.compile(r"[\w.:/@+#-]{2,80}")


def slack_with_code(text: str, names: Collection[str] = ()) -> str:
    """Make text inert for Slack, with names in code spans: those given, and each word that holds an underscore."""
    known = sorted((name for name in names if _PLAIN_NAME.fullmatch(name)), key=len, reverse=True)
    either = "|".join((*(rf"(?<![\w`.:/@+#-]){re.escape(name)}(?![\w`/@+#-]|[.:]\w)" for name in known), _CODE.pattern))
    written, at = [], 0
    for match in re.finditer(either, text):
        written += [slack_text(text[at : match.start()]), f"`{slack_escaped(match[0])}`"]
        at = match.end()
    return "".join((*written, slack_text(text[at:])))


SLACK = Dialect(
    slack_text, lambda text: f"`{slack_escaped(text.replace('`', 'ˋ'))}`",
    {"strong": ("*", "*"), "em": ("_", "_")}, "\n", lambda which: f" _({which}{' ' if which else ''}{UNKNOWN})_",
)  # fmt: skip


def to_slack(answer: str, known: Collection[str] | None = None) -> str:
    """Write an answer as Slack's mrkdwn, which knows no headings and no tables."""
    return _blocks(answer, SLACK, known, lambda _, text: f"*{text.replace('*', '')}*", "• ", markdown=False)


def _blocks(
    answer: str,
    dialect: Dialect,
    known: Collection[str] | None,
    heading: Callable[[str, str], str],
    bullet: str,
    *,
    markdown: bool,
) -> str:
    """Write blocks line by line: what lists and quotes put before a line is kept in `prefixes`."""
    lines: list[str] = []
    prefixes: list[str] = []  # of each list item and quote around
    item = ""  # the mark of a list item, until its first line stands
    numbers: list[int | None] = []  # of each list around: the next number; None for bullets
    cells: list[str] = []
    block = "p"  # whose inline text comes next

    def put(text: str) -> None:
        nonlocal item
        for line in text.split("\n"):
            before = "".join(prefixes[:-1]) + item if item else "".join(prefixes)
            item = ""
            lines.append((before + line).rstrip())

    def gap() -> None:
        lines.append("".join(prefixes).rstrip())

    for token in _parser().parse(visible(answer[:MAX_ANSWER])):
        kind = token.type
        if kind in ("heading_open", "th_open", "td_open"):
            block = token.tag
        elif kind == "inline":
            text = _inline(token.children or [], dialect, known)
            if block in ("th", "td"):
                cells.append(re.sub(r"(?<!\\)\|", r"\|", text.replace("\n", " ")) if markdown else text)
            elif block.startswith("h"):
                put(heading(block, text.replace("\n", " ")))
            else:
                put(_guarded(text) if markdown else text)
        elif kind == "tr_open":
            cells = []
        elif kind == "tr_close":
            put(f"| {' | '.join(cells)} |" if markdown else " · ".join(cells))
        elif kind == "thead_close" and markdown:
            put("|" + "---|" * len(cells))
        elif kind in ("fence", "code_block"):
            put(_fenced(token.content.rstrip("\n"), markdown=markdown))
            gap()
        elif kind == "hr":
            put("---" if markdown else "———")
            gap()
        elif kind in ("bullet_list_open", "ordered_list_open"):
            numbers.append(int(token.attrs.get("start", 1)) if kind == "ordered_list_open" else None)
        elif kind in ("bullet_list_close", "ordered_list_close"):
            numbers.pop()
            gap()
        elif kind == "list_item_open":
            if item:
                put("")
            number = numbers[-1]
            item = bullet if number is None else f"{number}. "
            numbers[-1] = None if number is None else number + 1
            prefixes.append(" " * len(item))
        elif kind == "blockquote_open":
            if item:
                put("")
            prefixes.append("> " if markdown else "│ ")
        elif kind in ("list_item_close", "blockquote_close"):
            if item:
                put("")
            prefixes.pop()
            if kind == "blockquote_close":
                gap()
        elif kind in ("paragraph_close", "heading_close", "table_close"):
            block = "p"
            if not token.hidden:
                gap()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


_LINE_START = re.compile(r"^(\s*)([-+=]|\d{1,9}[.)])", re.MULTILINE)


def _guarded(text: str) -> str:
    """Keep a line of a paragraph from becoming a list, a rule or a heading of its own."""
    return _LINE_START.sub(lambda m: f"{m[1]}{m[2][:-1]}\\{m[2][-1]}", text)


def _fenced(text: str, *, markdown: bool) -> str:
    if not markdown:
        return "```\n" + slack_escaped(text.replace("```", "ˋˋˋ")) + "\n```"
    marks = "`" * max(3, max((len(run) for run in re.findall(r"`{3,}", text)), default=2) + 1)
    return f"{marks}text\n{text}\n{marks}"
