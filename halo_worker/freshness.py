"""What readers see is what was sealed: have a receiver seal, load what waits in the spool, or say that it waits."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from halo_receiver import backlog, child_processes
from halo_worker import segments_client
from halo_worker.config import Settings

LOOK_SECONDS = 0.2
REMEDY = "'halo up' or 'halo receive --drain' loads it"
_OF_LOADING = ("max_request_bytes", "max_attribute_bytes")  # of [receiver]


@dataclass(frozen=True, slots=True)
class Unread:
    """What readers do not see, and why, in words; empty where they see all that was acknowledged."""

    reason: str = ""  # why a receiver that is there did not seal
    waiting: backlog.Backlog | None = None

    @property
    def problems(self) -> list[str]:
        """Sentences for a person or a report."""
        told = [f"{self.reason}; only sealed segments are read"] if self.reason else []
        return [*told, f"{self.waiting}, so not among what is read: {REMEDY}"] if self.waiting else told


def _never() -> bool:
    return False


def _silent(_: str) -> None:
    return None


def refresh(
    current: Settings,
    *,
    load: bool = False,
    say: Callable[[str], None] = _silent,
    interrupted: Callable[[], bool] = _never,
) -> Unread:
    """Have everything acknowledged readable, as far as that is possible, and return what is not.

    A running receiver seals. Without one, `load` loads the spool first, where this user may write there.
    """
    data_dir = current.store.data_dir
    sealed = segments_client.seal(data_dir)
    if sealed.answered:
        return Unread()
    waiting = backlog.waiting(data_dir)
    if load and waiting is not None and backlog.may_load(data_dir):
        say(f"loading first: {waiting}")
        _drain(current, interrupted)
        waiting = backlog.waiting(data_dir)
        if waiting is not None and segments_client.seal(data_dir).answered:  # a receiver has started meanwhile
            waiting = None
    return Unread(sealed.reason if segments_client.ReceiverAddress.read(data_dir) else "", waiting)


def _drain(current: Settings, interrupted: Callable[[], bool]) -> None:
    """Load the spool in a child, under the settings that are in force here."""
    given = {f"HALO_STORE_{name}".upper(): value for name, value in current.store.model_dump().items()}
    given |= {f"HALO_RECEIVER_{name}".upper(): getattr(current.receiver, name) for name in _OF_LOADING}
    variables = {name: str(value) for name, value in given.items() if value is not None}
    child = child_processes.start(
        "halo-drain", "halo_receiver", "--drain", "--data-dir", str(current.store.data_dir), "--config", os.devnull,
        env=child_processes.environment(settings=True) | variables, ends_by=signal.SIGTERM,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while child.poll() is None:
        if interrupted():
            child.terminate()
        try:
            child.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            continue
