"""What every child process runs first; children.py writes the command line: NAME PARENT SIGNAL MODULE ARGUMENTS…

The child is named, ends with its parent, and runs a module of the same halo as its parent. Run as a file with `-P`, so
that no directory of anyone is on its path.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

LOOK_SECONDS = 1.0
NAME_BYTES = 15  # that the kernel keeps
PACKAGES = ("halo_receiver", "halo_worker")
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # linux/prctl.h


def begin(name: str, parent: int, number: int) -> None:
    """Name this process, and have it get a signal when its parent ends, however that ends.

    Linux sends the signal by itself, also to a stopped process, but when the *thread* ends that started the child:
    number 0 (and any other system) means a thread that looks once a second, and ends the process.
    """
    linux = sys.platform == "linux"
    if linux:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:NAME_BYTES])
    if linux and number:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    else:
        number = number or signal.SIGKILL
        threading.Thread(target=_watch, args=(parent, number), name="lifeline", daemon=True).start()
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), number)


def begin_pool(name: str, parent: int, number: int) -> None:
    """Begin as a process of a pool, which its parent ends: Ctrl-C, which the terminal sends to both, is for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin(name, parent, number)


def _watch(parent: int, number: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), number)


def import_ours(directory: str) -> None:
    """Import the packages from where this file is, whatever else is installed; nothing else is looked for there."""
    sys.path.insert(0, directory)
    try:
        for package in PACKAGES:
            __import__(package)
    finally:
        sys.path.remove(directory)


def main() -> None:
    """Become the child."""
    name, parent, number, module = sys.argv[1:5]
    if int(parent):
        begin(name, int(parent), int(number))
    import_ours(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.argv = sys.argv[4:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
