"""A directory, or standard output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from halo_receiver import permissions
from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.redaction import redacted
from halo_worker.delivery.sink import Parcel
from halo_worker.errors import SinkUnavailable
from halo_worker.report.html import render_html
from halo_worker.report.markdown import render_markdown
from halo_worker.report.page_data import Scene, read_scene

_ENDINGS = {"json": "json", "markdown": "md", "html": "html"}


class FileSink:
    """Writes the report under its id, whole or not at all; writing it twice leaves one file."""

    def __init__(self, config: SinkConfig) -> None:
        self._path = config.path or "-"
        self._format = config.format

    def where(self) -> str:
        return "standard output" if self._path == "-" else self._path

    def probe(self) -> None:
        if self._path == "-":
            return
        try:
            permissions.make_directory(Path(self._path))
        except OSError as error:
            raise SinkUnavailable(f"cannot make {self._path}: {error.strerror}", hint="mend its path") from None
        if not os.access(self._path, os.W_OK | os.X_OK):
            raise SinkUnavailable(f"{self._path} is not writable for this user", hint="mend its path, or its mode")

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        text = self._text(parcel)
        if self._path == "-":
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
            return {}
        target = Path(self._path) / f"{parcel.report.id}.{_ENDINGS[self._format]}"
        try:
            permissions.make_directory(target.parent)
            temporary = target.with_name(f".{target.name}.new")
            temporary.write_text(text, encoding="utf-8")
            permissions.give(temporary)
            temporary.rename(target)
        except OSError as error:
            raise SinkUnavailable(f"cannot write {target}: {error.strerror}") from None
        return {"path": str(target)}

    def _text(self, parcel: Parcel) -> str:
        if self._format == "json":
            return json.dumps(parcel.document, ensure_ascii=False, indent=2) + "\n"
        scene = Scene.model_validate(redacted(read_scene(parcel.folder).model_dump(mode="json"), parcel.mask))
        if self._format == "markdown":
            return render_markdown(parcel.report, known_ids=scene.known_ids, links=parcel.links)
        return render_html(parcel.report, scene, links=parcel.links)
