"""What every Interpreter does, and what none lets happen. Subclass both, give a fixture `open_interpreter`."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from halo_worker.rlm.interpreter.protocol import Executed, Interpreter, Limits, OpenInterpreter

LIMITS = Limits(seconds=1.0, memory_bytes=64 * 2**20, host_calls=200, output_bytes=2_000)
OpenOne = Callable[..., Awaitable[Interpreter]]


class InterpreterSuite:
    """Conformance."""

    @pytest.fixture
    async def opened(self, open_interpreter: OpenInterpreter) -> Any:
        sessions: list[Interpreter] = []

        async def one(limits: Limits = LIMITS, **functions: Any) -> Interpreter:
            sessions.append(await open_interpreter(functions, limits))
            return sessions[-1]

        yield one
        for session in sessions:
            await session.close()

    async def test_output_and_the_last_value(self, opened: OpenOne) -> None:
        it = await opened()
        assert await it.execute("print('a')\nprint('b')\n1 + 1") == Executed("a\nb\n", "2")
        assert await it.execute("x = 1") == Executed()

    async def test_variables_functions_and_imports_persist(self, opened: OpenOne) -> None:
        it = await opened()
        await it.execute("import json\nx = [1]\ndef double(n):\n    return n * 2")
        assert (await it.execute("x.append(double(2))\njson.dumps(x)")).value == "'[1, 4]'"

    async def test_host_functions_are_called_plainly(self, opened: OpenOne) -> None:
        async def look(at: str, *, limit: int = 1) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"at": at, "rows": list(range(limit))}

        it = await opened(look=look)
        code = "rows = [r for name in ['a', 'b'] for r in look(name, limit=2)['rows']]\nrows"
        assert (await it.execute(code)).value == "[0, 1, 0, 1]"
        nested = "def f(n):\n    return look(n)['at'] if n == 'x' else f('x')\n{'k': f('y')}"
        assert (await it.execute(nested)).value == "{'k': 'x'}"
        assert (await it.execute("(await look('z'))['at']")).value == "'z'"  # who awaits is understood too

    async def test_what_a_host_function_raises_is_raised_in_the_code(self, opened: OpenOne) -> None:
        async def fail() -> None:
            raise ValueError("limit is at most 5")

        it = await opened(fail=fail)
        caught = "try:\n    fail()\nexcept Exception as error:\n    print('caught', error)"
        assert (await it.execute(caught)).stdout == "caught limit is at most 5\n"
        executed = await it.execute("fail()")
        assert executed.failure == "raised"
        assert "limit is at most 5" in executed.message

    async def test_errors_say_where(self, opened: OpenOne) -> None:
        it = await opened()
        executed = await it.execute("x = 1\ny = x / 0")
        assert executed.failure == "raised"
        assert "line 2" in executed.message
        assert "ZeroDivisionError" in executed.message
        executed = await it.execute("def f(:")
        assert executed.failure == "syntax"
        assert "line 1" in executed.message
        assert (await it.execute("x")).value == "1"  # and the session goes on

    async def test_waiting_for_the_host_is_not_counted_as_running(self, opened: OpenOne) -> None:
        async def wait() -> str:
            await asyncio.sleep(0.4)
            return "done"

        it = await opened(Limits(seconds=0.3), wait=wait)
        assert (await it.execute("wait()")).value == "'done'"

    async def test_output_beyond_the_limit_is_left_out_and_counted(self, opened: OpenOne) -> None:
        it = await opened()
        executed = await it.execute("for i in range(100):\n    print('é' * 100)")
        assert len(executed.stdout.encode()) <= LIMITS.output_bytes
        assert executed.output_left_out == 100 * 201 - len(executed.stdout.encode())
        assert executed.failure is None

    async def test_variables_from_before_a_kill_are_brought_back(self, opened: OpenOne) -> None:
        it = await opened()
        await it.execute("kept = 7")
        for code in ("kept = 8\nwhile True: pass", "kept = 9\nx = []\nwhile True: x.append('a' * 10000)"):
            executed = await it.execute(code)
            assert executed.failure in ("time", "memory")
            assert executed.variables_lost is False
            assert "as they were before" in executed.message
            assert (await it.execute("kept")).value == "7"

    async def test_variables_too_large_to_keep_are_rolled_back_and_told(self, opened: OpenOne) -> None:
        """Keeping variables takes memory beside theirs: the session may die of it after the code has run."""
        it = await opened()
        await it.execute("kept = 7")
        executed = await it.execute("x = 'y' * 40_000_000\nprint('ran')\nlen(x)")
        assert (executed.stdout, executed.value, executed.failure) == ("ran\n", "40000000", "memory")
        assert "as they were before" in executed.message
        assert (await it.execute("kept")).value == "7"
        assert (await it.execute("x")).failure == "raised"

    async def test_the_first_session_that_dies_is_told_as_all_lost(self, opened: OpenOne) -> None:
        it = await opened()
        executed = await it.execute("x = ['y' * 1_000_000 for _ in range(45)]")
        assert executed.variables_lost
        assert "All variables are lost" in executed.message
        assert (await it.execute("2 + 2")) == Executed(value="4")

    async def test_a_snapshot_is_restored_in_another_session(self, opened: OpenOne) -> None:
        it = await opened()
        assert it.snapshot() is None
        await it.execute("x = {'a': [1, 2]}\ndef f():\n    return x")
        kept = it.snapshot()
        assert kept is not None
        other = await opened()
        other.restore(kept)
        assert (await other.execute("f()['a']")).value == "[1, 2]"

    async def test_executions_at_once_wait_for_each_other(self, opened: OpenOne) -> None:
        it = await opened()
        await asyncio.gather(*(it.execute(f"x{n} = {n}") for n in range(8)))
        assert (await it.execute("x0 + x7")).value == "7"

    async def test_a_cancelled_execution_leaves_a_session_that_works(self, opened: OpenOne) -> None:
        async def hang() -> None:
            await asyncio.Event().wait()

        it = await opened(hang=hang)
        await it.execute("x = 1")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(it.execute("hang()"), 0.1)
        assert (await it.execute("x")).value == "1"


SECRET = "HALO_TEST_SECRET_7f3a"

# What hostile code tries. Each ends contained: nothing of the host is read, nothing is changed, and it ends in time.
ATTACKS = {
    "read a file": "print(open('/etc/passwd').read())",
    "read a file by pathlib": "from pathlib import Path\nprint(Path('/etc/passwd').read_text())",
    "list a directory": "import os\nprint(os.listdir('/'))",
    "write a file": "open({victim!r}, 'w').write('x')",
    "delete a file": "import os\nos.remove({victim!r})",
    "run a command": "import os\nprint(os.system('id > {victim}'))",
    "run a process": "import subprocess\nprint(subprocess.check_output(['id']))",
    "read the environment": "import os\nprint(dict(os.environ))",
    "getenv": "import os\nprint(os.getenv({secret_name!r}))",
    "open a socket": "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)\nprint('connected')",
    "fetch a url": "import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1').read())",
    "ctypes": "import ctypes\nprint(ctypes.CDLL(None).getpid())",
    "fork": "import os\nprint(os.fork())",
    "kill the host": "import os, signal\nos.kill({pid}, signal.SIGTERM)",
    "exit": "import sys\nsys.exit(3)",
    "raise SystemExit": "raise SystemExit(3)",
    "walk subclasses": "print([c for c in ().__class__.__base__.__subclasses__() if 'open' in str(c).lower()])",
    "builtins": "print(__builtins__['__import__']('os').environ)",
    "globals of a function": "def f(): pass\nprint(f.__globals__, f.__code__)",
    "globals of a host function": "print(look.__globals__)\nprint(look.__self__)",
    "import by name": "print(__import__('os').getcwd())\nprint(__import__('os').listdir('.'))",
    "import host modules": "import halo_worker\nprint(halo_worker.__file__)",
    "importlib": "import importlib\nprint(importlib.import_module('posix').getpid())",
    "exec": "exec(\"print(open('/etc/passwd').read())\")",
    "eval": "print(eval(\"__import__('os').popen('id').read()\"))",
    "format string": "print('{{0.__class__.__init__.__globals__}}'.format(look))",
    "frames": "import sys\nprint(sys._getframe(1).f_globals)",
    "traceback frames": "try:\n    1/0\nexcept Exception as e:\n    print(e.__traceback__.tb_frame.f_back.f_globals)",
    "pickle": "import pickle\npickle.loads(b\"cos\\nsystem\\n(S'id'\\ntR.\")",
    "threads": "import threading\nt = threading.Thread(target=print)\nt.start()\nprint('started')",
    "endless loop": "while True: pass",
    "endless comprehension": "[0 for i in iter(int, 1)]",
    "memory by a list": "x = []\nwhile True: x.append('a' * 100000)",
    "memory by a string": "x = 'a' * 10**10",
    "memory by doubling": "x = 'a'\nwhile True: x += x",
    "a huge number": "x = 9**9**9",
    "a huge number as text": "print(len(str(7**10000000)))",
    "memory by range": "x = list(range(10**10))",
    "recursion": "def f(n): return f(n + 1)\nf(0)",
    "deep nesting": "exec('(' * 100000 + ')' * 100000)",
    "deep data": "x = []\nfor i in range(200000): x = [x]\nx",
    "backtracking": "import re\nprint(re.match(r'(a+)+$', 'a' * 40 + 'b'))",
    "output flood": "while True: print('x' * 1000)",
    "one huge line": "print('x' * 30000000)",
    "sleep": "import time\ntime.sleep(3600)",
    "async sleep": "import asyncio\nawait asyncio.sleep(3600)",
    "host call flood": "while True:\n    try:\n        look('x')\n    except BaseException:\n        pass",
    "host function replaced": "look = print\nlook('mine')",
    "a lone surrogate": "print('\\ud800')\n'\\udfff'",
    "an argument that is no data": "look(lambda: 1)\nlook(look)\nlook(object)",
    "null bytes": "print('a\\x00b')\nlook('a\\x00b')",
}


class AttackSuite:
    """Every attack is contained: the host's process, files, environment and memory are untouched, in bounded time."""

    @pytest.mark.parametrize("attack", ATTACKS)
    async def test_it_is_contained(
        self, attack: str, open_interpreter: OpenInterpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_text("untouched")
        monkeypatch.setenv("HALO_TEST_SECRET", SECRET)
        code = ATTACKS[attack]
        for name, value in (("victim", str(victim)), ("secret_name", "HALO_TEST_SECRET"), ("pid", os.getpid())):
            code = code.replace(f"{{{name}!r}}", repr(value)).replace(f"{{{name}}}", str(value))

        async def look(at: Any) -> str:
            return f"seen {at!s:.20}"

        it = await open_interpreter({"look": look}, LIMITS)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        try:
            executed = await asyncio.wait_for(it.execute(code), 20)
            assert time.monotonic() - began < 15
            said = executed.stdout + executed.message + (executed.value or "")
            for leak in ("root:x:", SECRET, "uid=", "connected\n", "<frame", "halo_worker/"):
                assert leak not in said
            assert victim.read_text() == "untouched"
            assert os.listdir(tmp_path) == ["victim"]
            assert len(executed.stdout.encode()) <= LIMITS.output_bytes
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 300 * 1024, f"the host grew by {grown} KiB"
            assert (await asyncio.wait_for(it.execute("1 + 1"), 20)).value == "2"  # it still serves
        finally:
            await it.close()
