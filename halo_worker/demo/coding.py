"""A coding agent that fixes issues in a repository. OpenInference."""

from __future__ import annotations

import random

from halo_worker.demo.conventions import OpenInference
from halo_worker.demo.recorder import Agent, Conversation, Failure, Tool

SYSTEM = (
    "You are a coding agent in the repository of a web service. Read before you write, keep changes small, run the tests "
    "after each edit, and stop when they pass. Say what you changed and why."
)
TOOLS = (
    Tool("read_file", "Read a file.", {"path": {"type": "string"}}),
    Tool("search_code", "Search with a regular expression.", {"pattern": {"type": "string"}}),
    Tool(
        "edit_file",
        "Replace text in a file.",
        {"path": {"type": "string"}, "old": {"type": "string"}, "new": {"type": "string"}},
    ),
    Tool("run_tests", "Run the tests of a path.", {"path": {"type": "string"}}),
    Tool("ci_status", "The state of a CI run.", {"run_id": {"type": "string"}}),
)
# file, symbol, what is wrong, the edit
BUGS = (
    ("app/pagination.py", "page_of", "the last page is empty when the total divides evenly", ("total // size + 1", "-(-total // size)")),
    ("app/auth/session.py", "renew", "sessions expire an hour early in summer", ("datetime.now()", "datetime.now(UTC)")),
    ("app/export/csv.py", "write_rows", "umlauts are broken in the CSV export", ('open(path, "w")', 'open(path, "w", encoding="utf-8")')),
    ("app/cart.py", "total", "totals are off by a cent", ("float(price)", "Decimal(price)")),
    ("app/search/index.py", "tokens", "searching for C++ finds nothing", (r"\w+", r"[\w+#]+")),
    ("app/mail/queue.py", "drain", "mails are sent twice after a restart", ("send(); mark(id)", "mark(id); send()")),
    ("app/uploads.py", "limit", "uploads of exactly 10 MB are refused", ("size >= LIMIT", "size > LIMIT")),
)  # fmt: skip


def agent(version: str) -> Agent:
    """The coding agent in one of its releases."""
    return Agent(
        "patch-agent", "patch-agent", version, "claude-sonnet-4-5-20250929", "anthropic", SYSTEM, OpenInference(), TOOLS
    )


def _bug(c: Conversation) -> tuple[str, str, str, tuple[str, str]]:
    return next(bug for bug in BUGS if bug[2] in c.messages[0].text)


def _source(symbol: str, line: str, rng: random.Random) -> str:
    filler = "\n".join(
        f"    # step {number}: {rng.choice(('check', 'load', 'collect', 'merge'))} the rows"
        for number in range(rng.randrange(4, 24))
    )
    return f"from __future__ import annotations\n\n\ndef {symbol}(*args):\n{filler}\n    return {line}\n"


def _test_of(path: str) -> str:
    return "tests/test_" + path.rsplit("/", 1)[-1]


def _investigate(c: Conversation) -> tuple[str, str, str, tuple[str, str]]:
    path, symbol, wrong, edit = _bug(c)
    c.use("search_code", {"pattern": symbol}, f"{path}:{c.rng.randrange(10, 90)}: def {symbol}(*args):")
    c.use("read_file", {"path": path}, _source(symbol, edit[0], c.rng))
    return path, symbol, wrong, edit


def _red(path: str, symbol: str) -> str:
    return f"{_test_of(path)}::test_{symbol} FAILED\nE   AssertionError: assert 3 == 4\n1 failed, 11 passed in 0.84s"


def fixed_at_once(c: Conversation) -> None:
    """Read, edit, green."""
    path, _, wrong, (old, new) = _investigate(c)
    c.use("edit_file", {"path": path, "old": old, "new": new}, "1 replacement")
    c.use(
        "run_tests",
        {"path": _test_of(path)},
        f"{c.rng.randrange(8, 30)} passed in 0.{c.rng.randrange(20, 99)}s",
        seconds=4,
    )
    c.ask(f"Fixed: {wrong}. In {path} `{old}` became `{new}`. The tests pass.")


def red_then_green(c: Conversation) -> None:
    """Looks like a failure and is none: a failing test is how the work goes."""
    path, symbol, wrong, (old, new) = _investigate(c)
    test = {"path": _test_of(path)}
    c.use("run_tests", test, _red(path, symbol), seconds=3)
    c.use("edit_file", {"path": path, "old": old, "new": new}, "1 replacement")
    c.use("run_tests", test, "12 passed in 0.81s", seconds=3)
    c.ask(
        f"I reproduced it first (one red test), then changed `{old}` to `{new}` in {path}: {wrong}. All 12 tests pass."
    )


def long_and_healthy(c: Conversation) -> None:
    """Looks like a failure and is none: much reading, every call another one."""
    path, symbol, wrong, (old, new) = _investigate(c)
    for number in range(c.rng.randrange(5, 9)):
        other = f"app/{c.rng.choice(('models', 'views', 'jobs', 'api'))}/{symbol}_{number}.py"
        c.use("read_file", {"path": other}, _source(f"{symbol}_{number}", f"{symbol}(args)", c.rng))
    c.use("edit_file", {"path": path, "old": old, "new": new}, "1 replacement")
    c.use("run_tests", {"path": "tests"}, "214 passed in 31.20s", seconds=31)
    c.ask(f"{wrong}: the cause is in {path}; its callers did not need to change. The whole suite passes.")


def waited_for_ci(c: Conversation) -> None:
    """Looks like a failure and is none: the same question again, because the answer changes."""
    path, _, wrong, (old, new) = _investigate(c)
    c.use("edit_file", {"path": path, "old": old, "new": new}, "1 replacement")
    run = {"run_id": str(c.rng.randrange(10_000, 99_999))}
    for done in (12, 47, 88):
        c.use("ci_status", run, {"state": "running", "percent": done}, seconds=20)
    c.use("ci_status", run, {"state": "passed", "percent": 100})
    c.ask(f"{wrong}: fixed in {path}, and CI is green (run {run['run_id']}).")


def test_loop(c: Conversation) -> None:
    """The same failing test is run over and over, with no edit in between, until the turns are spent."""
    path, symbol, _, (old, _) = _investigate(c)
    c.use("edit_file", {"path": path, "old": old + " ", "new": old}, "0 replacements")
    for _ in range(c.rng.randrange(7, 11)):
        c.use("run_tests", {"path": _test_of(path)}, _red(path, symbol), seconds=3)
    c.ask(f"I was not able to finish within the allowed number of turns. The last result was: {_red(path, symbol)}")


def invented_tool(c: Conversation) -> None:
    """The model calls a tool that was never offered."""
    path, _, wrong, (old, new) = _investigate(c)
    patch = f"--- a/{path}\n+++ b/{path}\n@@ -7 +7 @@\n-    return {old}\n+    return {new}\n"
    unknown = Failure(
        "KeyError",
        "unknown tool 'apply_patch'; known: read_file, search_code, edit_file, run_tests, ci_status",
        "agent/loop.py",
    )
    c.use("apply_patch", {"patch": patch}, failure=unknown, seconds=0.01)
    c.use("apply_patch", {"patch": patch}, failure=unknown, seconds=0.01)
    c.ask(f"I prepared a patch for {path} ({wrong}) but could not apply it. Please apply it by hand:\n{patch}")


def question(name: str, rng: random.Random) -> str:
    """The issue to be fixed."""
    wrong = rng.choice(BUGS)[2]
    return rng.choice(
        (
            f"Bug: {wrong}. Please fix it.",
            f"Customers report that {wrong}.",
            f"Issue #{rng.randrange(300, 2900)}: {wrong}",
        )
    )
