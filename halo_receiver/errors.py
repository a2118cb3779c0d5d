"""What can go wrong, as a tree.

    HaloError
    ├── ConfigError            a setting is unknown, malformed, or cannot work with another
    ├── InputError             a file or argument the user named cannot be used
    └── StoreError             the data directory cannot be used as asked
        ├── DirectoryInUse     another process holds the writer's lock
        ├── DirectoryUnusable  missing, not writable, or full
        ├── LakeUnavailable    the lake's catalog or its object storage does not answer; it may pass
        ├── LeaseTaken         another worker of the lake holds the lease of what was to be done
        ├── SchemaMismatch     a segment was written by a schema this build does not read
        ├── Unreadable         a segment's file cannot be opened
        └── Unstorable         rows that the store refuses, whatever the disk says

Each error says what and which in its message, and what to do in `hint`. The command line prints the
two as `error:` and `hint:` lines and exits 2; nothing below it prints or exits.
"""

from __future__ import annotations


class HaloError(Exception):
    """The root of every error that is meant for a person. `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(HaloError):
    """A setting is unknown, malformed, or cannot work together with another."""


class InputError(HaloError):
    """A file or argument that the user named cannot be used."""


class StoreError(HaloError):
    """The data directory cannot be used as asked."""


class DirectoryInUse(StoreError):  # noqa: N818 - reads as the sentence it is raised for
    """Another process holds the writer's lock of a directory."""

    def __init__(self, directory: str, holder: str) -> None:
        super().__init__(
            f"{directory} is in use by {holder}",
            hint="stop that process, or choose another directory with --data-dir",
        )


class DirectoryUnusable(StoreError):  # noqa: N818
    """A directory is missing, not writable, or its disk is full."""


class LakeUnavailable(StoreError):  # noqa: N818
    """The lake's catalog or its object storage does not answer. It may pass; nothing was half done."""


class LeaseTaken(StoreError):  # noqa: N818
    """Another worker of the lake holds the lease, or took it over meanwhile: what this one made does not count."""


class SchemaMismatch(StoreError):  # noqa: N818
    """A segment was written by another schema version than this build reads."""

    def __init__(self, name: str, found: str, expected: int) -> None:
        super().__init__(
            f"segment {name} was written by schema {found}, this build reads up to {expected}",
            hint="upgrade halo, or move the file out of segments/ and read it with the release that wrote it",
        )


class Unreadable(StoreError):  # noqa: N818
    """A segment's file cannot be opened: it is damaged, or not a segment."""


class Unstorable(StoreError):  # noqa: N818
    """Rows that the store refuses, whatever the disk says."""
