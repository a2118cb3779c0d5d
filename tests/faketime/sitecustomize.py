"""Mends time.sleep under libfaketime: imported by every Python that starts with this folder in PYTHONPATH.

With FAKETIME_DONT_FAKE_MONOTONIC, libfaketime 0.9.10 (Debian 12) miscalculates `clock_nanosleep` until an absolute
monotonic time, which is how CPython sleeps since 3.11: each call fails with EINVAL. Its `select` waits as it should.
"""

import select
import time


def sleep(seconds: float, /) -> None:
    """Wait for that many seconds of real time, as time.sleep does."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select((), (), (), seconds)


time.sleep = sleep
