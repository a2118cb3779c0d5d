"""What an import left in `incoming/` becomes segments."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from halo_receiver.logs import event
from halo_receiver.store import manifest
from halo_receiver.store.segment import SegmentName, next_number

log = logging.getLogger("halo.store")

_NAME = re.compile(r"(\d{1,19})-.+\.duckdb", re.ASCII)  # unix nanoseconds of the import, and the name it was made under


def adopt(data_dir: Path) -> list[Path]:
    """Move the sealed segments in `incoming/` to `segments/`, numbered on; return where they are now.

    Only the holder of the writer's lock may call it. What cannot be opened is set aside; other names are left alone.
    """
    segments, adopted = data_dir / "segments", []
    for path, imported_ns in _imported(data_dir / "incoming"):
        if manifest.describe(path) is None:
            path.rename(path.with_name(f"{path.name}.broken"))
            event(log, "import set aside: it cannot be opened", level=logging.ERROR, file=repr(path.name))
            continue
        target = segments / str(SegmentName.at(imported_ns, next_number(segments)))
        path.rename(target)
        adopted.append(target)
    return adopted


def _imported(incoming: Path) -> list[tuple[Path, int]]:
    found = []
    for path in sorted(incoming.glob("*.duckdb")) if incoming.is_dir() else ():
        stamp = _NAME.fullmatch(path.name)
        if stamp is not None and int(stamp[1]) < 2**63 and path.is_file():
            found.append((path, int(stamp[1])))
    return found
