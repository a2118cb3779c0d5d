"""Who may do what: bearer keys with roles, for every port of halo.

An ingest key may only export, a read key only read, an operator key everything. The token in receiver.json, for callers
on the same machine, is an operator's. What no key is set for is open, except what only operators may, and spans.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from enum import Enum

from pydantic import SecretStr

from halo_receiver.config import AuthConfig, ReceiverConfig


class Role(Enum):
    """What a caller wants to do; the value says which keys may, in words for who is refused."""

    INGEST = "one of [auth] ingest_keys"
    READ = "one of [auth] read_keys"
    WATCH = "the token in receiver.json, or one of [auth] read_keys or operator_keys"  # spans as they come
    OPERATE = "the token in receiver.json, or one of [auth] operator_keys"


class Verdict(Enum):
    """What became of a caller's key. UNKNOWN: there is none, or a wrong one. OTHER: it may do other things."""

    ALLOWED = "allowed"
    UNKNOWN = "unknown"
    OTHER = "other"


CODES = {Verdict.UNKNOWN: "UNAUTHENTICATED", Verdict.OTHER: "PERMISSION_DENIED"}  # of gRPC


class Keys:
    """Every key that is accepted."""

    def __init__(
        self,
        *,
        ingest: Iterable[SecretStr] = (),
        read: Iterable[SecretStr] = (),
        operator: Iterable[SecretStr] = (),
        local_token: str = "",
    ) -> None:
        operators = _bytes(operator)
        by_role = {Role.INGEST: _bytes(ingest), Role.READ: _bytes(read)}
        self.open = {
            Role.INGEST: not by_role[Role.INGEST],
            Role.READ: not (by_role[Role.READ] or operators),
            Role.WATCH: False,
            Role.OPERATE: False,
        }
        local = [local_token.encode()] if local_token else []
        self._known = [(key, role) for role, keys in by_role.items() for key in keys]
        self._known += [(key, Role.OPERATE) for key in (*operators, *local)]

    @classmethod
    def of(cls, auth: AuthConfig, receiver: ReceiverConfig, *, local_token: str = "") -> Keys:
        """Take them from the settings; [receiver] api_keys are ingest keys."""
        return cls(
            ingest=[*auth.ingest_keys, *receiver.api_keys],
            read=auth.read_keys,
            operator=auth.operator_keys,
            local_token=local_token,
        )

    def judge(self, header: str | bytes | None, role: Role) -> Verdict:
        """Compare an Authorization header with every key, in a time that tells nothing about them."""
        if self.open[role]:
            return Verdict.ALLOWED
        # A header may hold any bytes; libraries hand those that are not UTF-8 over as surrogates.
        raw = header if isinstance(header, bytes) else (header or "").encode("utf-8", "surrogatepass")
        scheme, _, given = raw.partition(b" ")
        matched = [known for key, known in self._known if hmac.compare_digest(given.strip(), key)]
        may = Role.READ if role is Role.WATCH else role
        if scheme.lower() != b"bearer" or not matched:
            return Verdict.UNKNOWN
        return Verdict.ALLOWED if may in matched or Role.OPERATE in matched else Verdict.OTHER


def _bytes(keys: Iterable[SecretStr]) -> list[bytes]:
    return [key.get_secret_value().encode() for key in keys]
