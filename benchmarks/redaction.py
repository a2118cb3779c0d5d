"""What masking a text costs, and whether twice the text costs twice the time, whatever is in it.

    python -m benchmarks.redaction                  # every unit, a quarter, a half and one megabyte of it
    python -m benchmarks.redaction --pattern '(a+)+$' --megabytes 4

Each text repeats one unit that once was, or could be, costly: beginnings of secrets that never end. The last column is
the time of the whole over that of its quarter: 4 is one pass.
"""

from __future__ import annotations

import argparse
import time

from halo_worker.delivery.redaction import redactor

UNITS = (
    "hello world ", "-eyJaaaaaaaa", " eyJaaaaaaaa.aaaaaaaa", "sk-aaaa ", "a.b-c%d+e_", "a@a.a@", "://a:a/", "bearer  ",
    'password="a\\', "-----BEGIN PRIVATE KEY-----.", "AKIAAAAA", "https://hooks.slack.com/", "a.", "ghp_aaaa-", "é",
)  # fmt: skip


def main() -> None:
    """Print a row for each unit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--pattern", action="append", default=[], help="one of the settings' [redaction] patterns")
    given = parser.parse_args()
    mask = redactor(given.pattern)
    whole = int(given.megabytes * 1e6)
    for unit in UNITS:
        seconds = []
        for size in (whole // 4, whole // 2, whole):
            text = unit * (size // len(unit))
            began = time.process_time()
            mask(text)
            seconds.append(time.process_time() - began)
        print(f"{unit!r:28} {' '.join(f'{one:7.3f}' for one in seconds)} s   {seconds[2] / max(seconds[0], 1e-3):5.1f}")


if __name__ == "__main__":
    main()
