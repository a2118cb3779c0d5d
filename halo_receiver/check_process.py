"""The process that looks into requests, which the server gives a socket as stdin: one request, one reply.

What a request can do to the process that parses it, in memory and time, it cannot do to the server. Both are bounded
here; what needs more is refused, and the process that ran out of memory ends with its reply.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import orjson

from halo_receiver import process_memory, request_check, spool
from halo_receiver.decode import Undecodable

REQUEST = struct.Struct("<BBBxQQ")  # kind, encoding, compression; the limit after decompression; bytes
REPLY = struct.Struct("<I")
NICE = 5  # answering others goes before
GIVE_BACK_BYTES = 4 * 2**20  # of a request, after which freed memory is returned to the system


class _OutOfTime(BaseException):
    """The request has taken its processor time: not an Exception, for nothing on the way may take it for one."""


def limit_memory(size: int) -> None:
    """Bound what this process may allocate from now on, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        used = 0
        with contextlib.suppress(OSError):
            lines = Path("/proc/self/status").read_text().splitlines()
            used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + size, used + size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(head: tuple[int, ...], body: bytes, cpu_seconds: float) -> dict[str, Any]:
    """Look at one request; what came of it, or why it is refused."""
    kind, encoding, compression, limit, _ = head
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        plain = request_check.inflate(body, limit) if spool.COMPRESSIONS[compression] == "gzip" else body
        del body
        return asdict(request_check.check(spool.KINDS[kind], cast(Any, spool.ENCODINGS[encoding]), plain))
    except request_check.TooLarge as error:
        return {"error": "too large", "message": str(error), "hint": error.hint}
    except Undecodable as error:
        return {"error": "undecodable", "message": str(error), "hint": error.hint}
    except MemoryError:
        return {"error": "memory"}
    except _OutOfTime:
        return {"error": "time"}
    except Exception as error:  # noqa: BLE001 - what this body does to a pure function it will always do
        return {"error": "failed", "message": f"{type(error).__name__}: {error}"[:200]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def serve(channel: socket.socket, cpu_seconds: float) -> None:
    """Answer until the server closes its end."""
    with channel, channel.makefile("rb") as requests:
        while len(head := requests.read(REQUEST.size)) == REQUEST.size:
            fields = REQUEST.unpack(head)
            body = _read(requests, fields[-1])
            if body is None:
                return
            reply = answer(fields, body, cpu_seconds)
            large = len(body) >= GIVE_BACK_BYTES
            del body
            text = orjson.dumps(reply)
            channel.sendall(REPLY.pack(len(text)) + text)
            if reply.get("error") == "memory":
                return
            if large:
                process_memory.give_back()


def _read(requests: Any, size: int) -> bytes | None:
    body = requests.read(size)
    return body if len(body) == size else None


def main() -> None:
    """Run as a child (children.py)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("memory_bytes", type=int)
    parser.add_argument("cpu_seconds", type=float)
    given = parser.parse_args()
    os.nice(NICE)
    for number in (signal.SIGINT, signal.SIGTERM):  # the server decides
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _out_of_time)
    limit_memory(given.memory_bytes)
    serve(socket.socket(fileno=0), given.cpu_seconds)


def _out_of_time(*_: object) -> None:
    raise _OutOfTime


if __name__ == "__main__":
    main()
