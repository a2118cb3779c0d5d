"""The gate: errors of the receiver pass through here, and the worker's branch is drawn on top.

HaloError
├── ConfigError, InputError, StoreError      from the receiver
├── ModelError                               a language model could not be asked
│   ├── ModelUnavailable                     it may pass: connection, timeout, 408, 409, 429, 5xx
│   └── ModelRefused                         it will not pass: key, model name, quota, context, content
├── ReceiverAway                             a running receiver is needed, and none answers
├── InterpreterGone                          the code interpreter's process ended
├── Interrupted                              the run was asked to end, and has nothing to publish yet
├── ReportError                              a report cannot be read or published
└── DeliveryError                            a sink did not take a report
    ├── SinkUnavailable                      it may pass
    └── SinkRefused                          it will not pass
"""

from __future__ import annotations

from halo_receiver.errors import (
    ConfigError,
    DirectoryInUse,
    DirectoryUnusable,
    HaloError,
    InputError,
    LakeUnavailable,
    LeaseTaken,
    SchemaMismatch,
    StoreError,
)

__all__ = [
    "ConfigError",
    "DeliveryError",
    "DirectoryInUse",
    "DirectoryUnusable",
    "HaloError",
    "InputError",
    "InterpreterGone",
    "Interrupted",
    "LakeUnavailable",
    "LeaseTaken",
    "ModelError",
    "ModelRefused",
    "ModelUnavailable",
    "ReceiverAway",
    "ReportError",
    "SchemaMismatch",
    "SinkRefused",
    "SinkUnavailable",
    "StoreError",
]


class ModelError(HaloError):
    """A language model could not be asked."""


class ModelUnavailable(ModelError):  # noqa: N818
    """A fault that may pass. `retry_after` is what the provider asked for, in seconds.

    `received`: characters that came before the fault, when the provider worked on the request and may charge for it.
    """

    def __init__(
        self, message: str, *, hint: str = "", retry_after: float | None = None, received: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.received = received


class RequestChanged(ModelUnavailable):
    """The endpoint does not take a request in this form: the next attempt has another one. Retries do not count it."""

    def __init__(self, message: str, *, received: int | None = None) -> None:
        super().__init__(message, retry_after=0.0, received=received)


class ModelRefused(ModelError):  # noqa: N818
    """A fault that will not pass however often it is tried. `code` is the provider's own word for it."""

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ReceiverAway(HaloError):  # noqa: N818
    """A running receiver is needed, and none answers, or it has stopped."""


class InterpreterGone(HaloError):  # noqa: N818
    """The code interpreter's process ended; its variables are lost."""


class Interrupted(HaloError):  # noqa: N818
    """The run was asked to end, and has nothing to publish yet."""


class ReportError(HaloError):
    """A report cannot be read or published."""


class DeliveryError(HaloError):
    """A sink did not take a report."""


class SinkUnavailable(DeliveryError):  # noqa: N818
    """A fault that may pass. `retry_after` is what the sink asked for, in seconds."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class SinkRefused(DeliveryError):  # noqa: N818
    """A fault that will not pass however often it is tried."""
