"""How much memory this process has allocated: requests that are being read lie in a C library, which does not say."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

_STATM = Path("/proc/self/statm")


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h, the GNU C library."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    )


def _allocated() -> Callable[[], int] | None:
    """Return the allocator's own account; None where it gives none."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    mallinfo2.restype = _MallInfo

    def allocated() -> int:
        info = mallinfo2()
        return int(info.uordblks + info.hblkhd)

    return allocated


def _resident() -> int:
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


# Of the GNU library what is allocated (5 to 20 µs), else what is resident, which does not fall when memory is freed;
# 0 where neither is known.
in_use: Callable[[], int] = _allocated() or _resident


def give_back() -> None:
    """Return freed memory to the system, where the C library can; it takes milliseconds."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
