"""Results of sub-calls on disk, by content: the same question to the same model is paid once, over all runs."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

CACHE_BYTES = 256 * 2**20  # of the whole cache; the oldest go first
_VERSION = 1


class ResponseCache:
    """Safe for several processes at once: a file is written aside and renamed. `folder` None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @staticmethod
    def key(model: str, system: str, prompt: str, schema: dict[str, Any] | None) -> str:
        """Name a question by all that its answer depends on."""
        content = orjson.dumps([_VERSION, model, system, prompt, schema], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(content).hexdigest()

    def get(self, key: str) -> tuple[bool, Any]:
        """Return whether it is known, and the value."""
        if self._folder is None:
            return False, None
        try:
            path = self._path(key)
            value = orjson.loads(path.read_bytes())["value"]
            os.utime(path)
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return False, None  # absent, or written by half before a power cut
        return True, value

    def put(self, key: str, value: Any) -> None:
        """Keep a value. A full disk costs the cache, never the run."""
        if self._folder is None:
            return
        path = self._path(key)
        aside = path.with_name(f".{key}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(orjson.dumps({"value": value}))
            aside.replace(path)
        except (OSError, TypeError):
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove what was asked for longest ago, until the cache fits CACHE_BYTES."""
        if self._folder is None or not self._folder.is_dir():
            return
        files = []
        for path in self._folder.glob("??/*"):
            with suppress(OSError):
                status = path.stat()
                if path.name.startswith(".") and time.time() - status.st_mtime > 3_600:
                    path.unlink()  # left by a process that was killed
                else:
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files, key=lambda one: one[0]):
            if total <= CACHE_BYTES:
                return
            with suppress(OSError):
                path.unlink()
                total -= size

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / key
