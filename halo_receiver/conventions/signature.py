"""The part of an error message that stays the same when it happens again."""

from __future__ import annotations

import re
from functools import lru_cache

MAX_EXAMINED = 16_384  # characters of a message that are looked at, half from each end
MAX_LINE = 1_000
MAX_SIGNATURE = 300

_TRACEBACK = "Traceback (most recent call last)"
_NOISE = re.compile(r"\s*(?:[\^~\-=*_.#]+|at .{0,300}|File \".{0,300}|\.\.\. \d+ more|stack backtrace:?.{0,40})\s*\Z")
_SAID = re.compile(r"""['"](?:message|error|detail|msg|reason)['"]\s*:\s*(?:'([^'\n]{1,400})'|"([^"\n]{1,400})")""")

# In this order: what a later mask would tear apart comes first. Every repetition is bounded or possessive over one
# character class, so the time is linear in the (bounded) line.
# The status of an HTTP answer tells causes apart, so it is no number to mask: its digits hide in private characters.
_STATUS = re.compile(r"\b(?:code|status|status_code|http|http/\d\.\d|error)\b[\s:=#'\"(]{1,4}([1-5]\d\d)\b", re.I)
_HIDE = {ord("0") + i: 0xE000 + i for i in range(10)}
_SHOW = {0xE000 + i: ord("0") + i for i in range(10)}

_DIGIT = re.compile(r"\d")
_NUMBERS = ("",)  # needs a digit
# Each with what a line must hold one of: most lines hold little, and a search costs a tenth of a substitution.
_MASKS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("://",), re.compile(r"\b[a-z][a-z0-9+.\-]{1,20}://[^\s'\"<>)\]}]++", re.I), "<url>"),
    (("@",), re.compile(r"[\w.+\-]{1,64}@[\w\-]{1,64}(?:\.[\w\-]{1,64}){1,5}"), "<email>"),
    (("-",), re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.I), "<id>"),
    (
        _NUMBERS,
        re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|[+\-]\d\d:?\d\d))?)?"),
        "<time>",
    ),
    (_NUMBERS, re.compile(r"\b\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?\b"), "<time>"),
    (_NUMBERS, re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"), "<address>"),
    (
        ("/", "\\"),
        re.compile(r"(?<![\w/<])(?:~|\.{1,2})?(?:/[\w.@+\-]{1,120}){2,20}/?|\b[A-Za-z]:\\[^\s'\":]{1,300}"),
        "<path>",
    ),
    (("{",), re.compile(r"\{[^{}\n]{0,600}\}"), "<dict>"),
    (("{",), re.compile(r"\{[^{}\n]{0,600}\}"), "<dict>"),
    (("[",), re.compile(r"\[[^\[\]\n]{0,600}\]"), "<list>"),
    (
        ("'", '"', "`", "“"),
        re.compile(r"'[^'\n]{0,400}'(?!\w)|\"[^\"\n]{0,400}\"|`[^`\n]{0,400}`|“[^”\n]{0,400}”"),
        "<text>",
    ),
    (_NUMBERS, re.compile(r"\b0x[0-9a-f]+\b", re.I), "<hex>"),
    # call_…, chatcmpl-…, req_…
    (_NUMBERS, re.compile(r"\b[a-z]{2,12}[_\-](?=[\w\-]{0,39}\d)[A-Za-z0-9][\w\-]{5,79}\b"), "<id>"),
    (_NUMBERS, re.compile(r"\b(?=[0-9a-f]{0,31}\d)(?=[0-9a-f]{0,31}[a-f])[0-9a-f]{8,128}\b", re.I), "<hex>"),
    (_NUMBERS, re.compile(r"\b(?=\w{0,40}\d)(?=\w{0,40}[A-Za-z])\w{20,200}\b"), "<id>"),
    (_NUMBERS, re.compile(r"(?<![A-Za-z_<])[+\-]?\d++(?:[.,]\d++)*+(?:e[+\-]?\d{1,4})?%?"), "<n>"),
    (_NUMBERS, re.compile(r"(?<=[A-Za-z_])\d{2,}+"), "<n>"),
    (("<n>",), re.compile(r"(?:<n>[,;: ]{1,3}){2,50}<n>"), "<n>"),
)
_SPACES = re.compile(r"\s++")


_MAX_KNOWN, _MAX_KNOWN_LENGTH = 1_024, 2_048  # errors repeat: to look one up costs a hundredth


def error_signature(text: str, error_type: str | None) -> str:
    """Return what groups this error with its repetitions: `<type>: <meaningful line, masked>`.

    The meaningful line is the last one of a Python traceback, else the first that is not decoration; a message
    inside a JSON or Python dict is taken out of it. Ids, numbers, URLs, paths, e-mails, times, quoted text, dicts
    and lists become masks. Linear in the text, of which `MAX_EXAMINED` characters are examined; at most
    `MAX_SIGNATURE` characters long. Empty when neither text nor type says anything.
    """
    return (_known if len(text) <= _MAX_KNOWN_LENGTH else _signature)(text, error_type or "")


def _signature(text: str, kind: str) -> str:
    line = meaningful_line(text)
    if kind and line.startswith(kind):
        line = line[len(kind) :].lstrip(": ")
    line = _STATUS.sub(lambda match: match[0].translate(_HIDE), line)
    numbers = _DIGIT.search(line) is not None
    for needs, pattern, mask in _MASKS:
        if numbers if needs is _NUMBERS else any(map(line.__contains__, needs)):
            line = pattern.sub(mask, line)
    line = _SPACES.sub(" ", line).translate(_SHOW).strip(" .:,;-")
    return (f"{kind}: {line}" if kind and line else kind or line)[:MAX_SIGNATURE]


_known = lru_cache(_MAX_KNOWN)(_signature)


def meaningful_line(text: str) -> str:
    """Return the one line of an error text that says what went wrong, at most `MAX_LINE` characters."""
    if len(text) > MAX_EXAMINED:
        half = MAX_EXAMINED // 2
        text = f"{text[:half]}\n{text[-half:]}" if _TRACEBACK in text[:half] else text[:MAX_EXAMINED]
    lines = [line for line in text.splitlines() if line.strip() and not _NOISE.match(line[:MAX_LINE])]
    if not lines:
        return ""
    line = lines[0]
    start = next((i for i, candidate in enumerate(lines) if _TRACEBACK in candidate), None)
    if start is not None:
        after = [candidate for candidate in lines[start + 1 :] if not candidate[0].isspace()]
        line = after[-1] if after else lines[start - 1] if start else lines[-1]
        following = []
    else:
        following = lines[1:9]
    line = line.strip()[: 4 * MAX_LINE]
    for more in following:  # a quotation or a heading goes on in the next line
        if len(line) > MAX_LINE or (line.count("'") % 2 == 0 and not line.endswith(":")):
            break
        line = f"{line} {more.strip()}"[: 4 * MAX_LINE]
    said = _SAID.search(line)
    if said:
        brace = line.find("{")
        line = f"{line[:brace] if 0 <= brace < said.start() else ''}{said[1] or said[2]}"
    return line[:MAX_LINE].strip()
