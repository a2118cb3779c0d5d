"""pydantic-monty behind the Interpreter protocol: the conformance and the attack suite, and what its words promise."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from halo_worker.rlm.interpreter.code_rewriting import rewrite
from halo_worker.rlm.interpreter.monty_interpreter import SUBSET, MontyInterpreter, OpenMonty
from halo_worker.rlm.interpreter.protocol import Executed, Limits, OpenInterpreter
from tests.worker.rlm.interpreter.interpreter_suite import LIMITS, AttackSuite, InterpreterSuite


@pytest.fixture
def open_interpreter() -> OpenInterpreter:
    return OpenMonty()


class TestMonty(InterpreterSuite):
    pass


class TestAttacksOnMonty(AttackSuite):
    pass


WORKS = {
    "functions, lambdas": "def f(a, *b, c=1, **d):\n    return (lambda x: x + c)(a)\nassert f(1, 2, e=3) == 2",
    "comprehensions": "assert {k: v for k, v in zip('ab', [x for x in [1, 2]])} == {'a': 1, 'b': 2}",
    "classes without inheritance": "class A:\n    def __init__(self, n):\n        self.n = n\nassert A(2).n == 2",
    "f-strings": "assert f'{3.14159:.2f} {[1]!r:>5}' == '3.14   [1]'",
    "try/except": "try:\n    {}['x']\nexcept (KeyError, ValueError) as e:\n    y = 1\nelse:\n    1/0\nfinally:\n    y",
    "unpacking": "a, *b = [1, 2, 3]\nassert b == [2, 3] and [*b, 4] == [2, 3, 4] and {**{'a': 1}} == {'a': 1}",
    "match": "match {'a': 1}:\n    case {'a': x}:\n        assert x == 1",
    "sorting": "assert sorted(['bb', 'a'], key=lambda s: (len(s), s), reverse=True) == ['bb', 'a']",
    "math": "import math\nassert math.isclose(math.sqrt(2) ** 2, 2)",
    "re": "import re\nassert re.findall(r'(\\w+)=(\\d+)', 'a=1 b=2') == [('a', '1'), ('b', '2')]",
    "json": "import json\nassert json.loads(json.dumps({'a': [1, None]})) == {'a': [1, None]}",
    "collections": "from collections import Counter, defaultdict\nassert Counter('aab').most_common(1) == [('a', 2)]\n"
    "d = defaultdict(list)\nd['x'].append(1)\nassert dict(d) == {'x': [1]}",
    "itertools": "import itertools\nassert list(itertools.islice(itertools.chain([1], [2, 3]), 2)) == [1, 2]",
    "functools": "import functools\nassert functools.reduce(lambda a, b: a + b, [1, 2]) == 3",
    "datetime": "from datetime import datetime, timedelta\nassert (datetime(2026, 1, 2) - timedelta(days=1)).day == 1",
    "dataclasses": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nassert P(1) == P(1)",
    "typing": "from typing import Any\nx: list[Any] = []",
    "random": "import random\nrandom.seed(1)\nassert 0 <= random.random() < 1",
    "csv": "import csv\nassert list(csv.reader(['a,b'])) == [['a', 'b']]",
    "hashlib": "import hashlib\nassert len(hashlib.sha256(b'x').hexdigest()) == 64",
    "base64": "import base64\nassert base64.b64encode(b'x') == b'eA=='",
    "bisect": "import bisect\nassert bisect.bisect([1, 3], 2) == 1",
    "decimal": "from decimal import Decimal\nassert Decimal('0.1') * 3 == Decimal('0.3')",
    "copy": "import copy\nassert copy.deepcopy([[1]]) == [[1]]",
    "time": "import time\ntime.time()",
    "asyncio": "import asyncio\nasync def f():\n    return 1\nassert await asyncio.gather(f(), f()) == [1, 1]",
    "with": "class C:\n    def __enter__(self):\n        return 1\n    def __exit__(self, *a):\n        return False\n"
    "with C() as c:\n    assert c == 1",
}  # fmt: skip

REFUSED = {
    "statistics": "import statistics",
    "heapq": "import heapq",
    "string": "import string",
    "io": "import io",
    "enum": "import enum",
    "numpy": "import numpy",
    "no class inheritance": "class A: pass\nclass B(A): pass",
    "no yield": "def f():\n    yield 1\nlist(f())",
    "no methods as values": "f = [].append",
}


async def test_what_the_prompt_says_of_the_subset_is_true() -> None:
    """A model that believes it loses no turn."""
    it = await OpenMonty()({}, LIMITS)
    for words, code in WORKS.items():
        assert all(word in SUBSET for word in words.split(", "))
        executed = await it.execute(code)
        assert executed.failure is None, (words, executed.message)
    for words, code in REFUSED.items():
        assert words in SUBSET
        assert (await it.execute(code)).failure, words
    await it.close()


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("d = {'a': 1, 'é': 2}\nmax(d, key=d.get)", "'é'"),
        ("sorted(['B', 'a'], key=str.lower, reverse=True)", "['B', 'a']"),
        ("list(map(str.upper, ['a']))", "['A']"),
        ("d = {'a': [3, 1]}\nsorted(d['a'], key={1: 5, 3: 4}.get)", "[3, 1]"),
        ("next(x for x in [1, 2] if x > 1)", "2"),
        ("next((x for x in [1] if x > 1), None) is None", "True"),
        ("d = {'a': 1, 'b': 2}\ndel d['a']\nx = [1, 2]\ndel x[0], d['b']\n(d, x)", "({}, [2])"),
        ("ü = 'ü'; m = max(['b', 'a'], key={'a': 1, 'b': 0}.get); m", "'a'"),
    ],
)
async def test_idioms_that_it_lacks_are_written_as_it_knows_them(code: str, value: str) -> None:
    it = await OpenMonty()({}, LIMITS)
    executed = await it.execute(code)
    assert (executed.failure, executed.value) == (None, value), executed.message
    await it.close()


def test_rewriting_keeps_lines_and_skips_what_it_cannot_parse() -> None:
    code = "x = 1\n# d.get\ny = max(\n    d,\n    key=d.get,\n)\nz = 'key=d.get'\n"
    assert rewrite(code) == code.replace("key=d.get,", "key=lambda *_v: d.get(*_v),")
    for same in ("def f(:", "x = d.get('a')", "del x[1:2]", "'-' * 3", "-" * 15_000 + "1", "not " * 4_999 + "x"):
        assert rewrite(same) == same


async def test_the_traps_of_the_subset_are_answered_with_the_way_out() -> None:
    async def look(at: str) -> str:
        return at

    it = await OpenMonty()({"look": look}, LIMITS)
    said = {
        "import asyncio\nawait asyncio.gather(look('a'), look('b'))": "call them without await",
        "list(map(look, ['a']))": "not inside map()",
        "import pandas": "This interpreter runs:",
        "f = 'a'.upper": "write lambda s: s.lower()",
        "g = (x for x in [1])\nnext(g)": "use iter(…)",
    }
    for code, words in said.items():
        assert words in (await it.execute(code)).message
    await it.close()


async def test_a_process_that_is_killed_is_replaced_and_the_variables_come_back() -> None:
    async def die() -> None:
        os.kill(pid, signal.SIGKILL)

    it = await OpenMonty()({"die": die}, LIMITS)
    assert isinstance(it, MontyInterpreter)
    await it.execute("x = 5")
    pid = it._session.worker_pid
    executed = await it.execute("die()\nx = 6")
    assert executed.failure == "memory"
    assert (await it.execute("x")).value == "5"
    await it.close()


async def test_variables_too_large_to_keep_are_told_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halo_worker.rlm.interpreter.monty_interpreter.DUMP_BYTES", 1_000)
    it = await OpenMonty()({}, LIMITS)
    await it.execute("x = 'a' * 5000")
    executed = await it.execute("while True: pass")
    assert executed.variables_lost
    assert "All variables are lost" in executed.message
    assert (await it.execute("x")).failure == "raised"
    await it.close()


async def test_a_damaged_snapshot_costs_the_variables_and_not_the_session() -> None:
    it = await OpenMonty()({}, LIMITS)
    it.restore(b"not a dump")
    executed: Any = await it.execute("1 + 1")
    assert (executed.value, executed.failure, executed.variables_lost) == ("2", None, True)
    assert "All variables are lost" in executed.message
    assert await it.execute("1 + 1") == Executed(value="2")
    await it.close()


@pytest.mark.parametrize("step", ["dump", "feed_start", "load_session"])
async def test_a_session_that_dies_at_any_step_is_replaced(step: str) -> None:
    """The process may be ended by the kernel while it runs code, while it waits, and while its variables are kept."""
    it = await OpenMonty()({}, LIMITS)
    assert isinstance(it, MontyInterpreter)
    await it.execute("x = 5")
    if step == "load_session":
        await it._end()
        it.restore(b"\x00" * 1000)
    else:
        it._session = _DiesAt(it._session, step)
    executed = await it.execute("x = 6\nx")
    if step == "load_session":
        assert executed.variables_lost
    else:
        assert executed.failure == "memory"
        assert "as they were before" in executed.message
        assert (await it.execute("x")).value == "5"
    assert (await it.execute("1 + 1")).value == "2"
    await it.close()


class _DiesAt:
    """A session whose process is killed at the moment of one step."""

    def __init__(self, session: Any, step: str) -> None:
        self._session, self._step = session, step

    def __getattr__(self, name: str) -> Any:
        if name == self._step:
            os.kill(self._session.worker_pid, signal.SIGKILL)
        return getattr(self._session, name)


async def test_an_execution_cancelled_while_its_variables_are_kept_ends_its_session() -> None:
    """What the process still answers belongs to nobody: the next code runs in another, with the variables of before."""
    hanging = asyncio.Event()

    class Hangs:
        def __init__(self, session: Any) -> None:
            self._session = session

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

        async def dump(self) -> bytes:
            hanging.set()
            return b"%d" % await asyncio.get_running_loop().create_future()

    it = await OpenMonty()({}, LIMITS)
    assert isinstance(it, MontyInterpreter)
    await it.execute("x = 1")
    it._session = Hangs(it._session)
    running = asyncio.ensure_future(it.execute("x = 2"))
    await asyncio.wait_for(hanging.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert it._session is None
    assert (await it.execute("x")).value == "1"
    await it.close()


async def test_a_thousand_host_calls_are_quick() -> None:
    async def look(at: int) -> int:
        return at

    it = await OpenMonty()({"look": look}, Limits())
    began = time.monotonic()
    assert (await it.execute("sum(look(n) for n in range(1000))")).value == "499500"
    assert time.monotonic() - began < 5
    await it.close()


def test_no_process_is_left_behind() -> None:
    code = (
        "import asyncio\nfrom halo_worker.rlm.interpreter.monty_interpreter import OpenMonty\n"
        "from halo_worker.rlm.interpreter.protocol import Limits\n"
        "async def main():\n    it = await OpenMonty()({}, Limits())\n    await it.execute('1')\n"
        "    print(it._session.worker_pid)\nasyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{pid}")
