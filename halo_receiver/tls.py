"""The certificate, its key and the client authorities of both ports, and what replaces them while the receiver runs.

Files are read again every second. What they hold is loaded into a fresh context first; it is used, by both transports,
once that works: until then the last that worked serves. A half-written file, a certificate whose key is not there yet
or a lost file is logged once and counted.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from halo_receiver.config import ReceiverConfig
from halo_receiver.errors import ConfigError
from halo_receiver.logs import event

log = logging.getLogger("halo.receiver")

RELOAD_SECONDS = 1.0  # between two looks at the files
MAX_PEM_BYTES = 4 * 2**20  # of one file; a chain has some kilobytes, a bundle of all public authorities 220 KiB
_HINT = "a certificate chain, its private key without a passphrase, and authorities, each a file in PEM"


@dataclass(frozen=True, slots=True)
class Identity:
    """What the files held when they were loaded together; no `authorities` where no client certificate is asked for."""

    certificate: bytes
    key: bytes
    authorities: bytes | None


class Tls:
    """The identity in use. `identity` and `context` are replaced as a whole; any thread may read them.

    Raises ConfigError when the files cannot be used at the start; `failed` is called for each change of the files that
    cannot be used later.
    """

    def __init__(self, config: ReceiverConfig, *, failed: Callable[[], None] = lambda: None) -> None:
        assert config.tls_cert_file is not None
        assert config.tls_key_file is not None
        self._files = (config.tls_cert_file, config.tls_key_file)
        self._authorities = config.tls_client_ca_file
        self._failed = failed
        try:
            self.identity, self.context = self._load()
        except _UnusableError as error:
            raise ConfigError(f"[receiver] {error}", hint=_HINT) from None
        self._looked: Identity | str = self.identity
        self._let_in = WeakKeyDictionary({self.context: self.identity.authorities})

    @property
    def asks_clients(self) -> bool:
        """Whether clients must show a certificate."""
        return self._authorities is not None

    def listening_context(self) -> ssl.SSLContext:
        """Return a context to listen with: each connection gets the one that is in use when it begins."""

        def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self.context

        context = self._empty_context()  # without a certificate: no handshake succeeds that did not choose
        context.sni_callback = choose  # called in every handshake, also of clients that send no name
        return context

    def serves(self, connection: ssl.SSLObject | None) -> bool:
        """Say whether a connection's client was let in by the authorities in use, if any are asked."""
        if not self.asks_clients or connection is None:
            return True
        return self._let_in.get(connection.context) == self.identity.authorities

    async def watch(self) -> None:
        """Look at the files for as long as the receiver runs."""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> bool:
        """Use what the files hold now, if it is new and works; say whether it was."""
        try:
            seen: Identity | str = self._read()
            if seen == self._looked:
                return False
            identity, context = self._load()
        except _UnusableError as error:
            seen = str(error)
            if seen != self._looked:
                self._failed()
                event(log, "certificate not reread, the last one serves", level=logging.ERROR, reason=seen, hint=_HINT)
            self._looked = seen
            return False
        self._looked = identity
        if identity == self.identity:  # back to what is in use
            return False
        self._let_in[context] = identity.authorities
        self.identity, self.context = identity, context
        event(log, "certificate reread", file=self._files[0])
        return True

    def _read(self) -> Identity:
        certificate, key = (_content(path) for path in self._files)
        return Identity(certificate, key, _content(self._authorities) if self._authorities else None)

    def _load(self) -> tuple[Identity, ssl.SSLContext]:
        """Load the files into a fresh context. Raises _UnusableError, also when they changed meanwhile."""
        before = self._read()
        context = self._context()
        if self._read() != before:
            raise _UnusableError("the certificate's files are being written")
        return before, context

    def _empty_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A session that is resumed is not verified again, and would outlive the authority of its client.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED if self.asks_clients else ssl.CERT_NONE
        return context

    def _context(self) -> ssl.SSLContext:
        context = self._empty_context()
        certificate, key = self._files
        files = f"tls_cert_file {certificate} and tls_key_file {key}"
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")  # never asked for on a terminal
            if self._authorities is not None:
                files = f"tls_client_ca_file {self._authorities}"
                context.load_verify_locations(self._authorities)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "strerror", None) or error
            raise _UnusableError(f"{files} cannot be used: {reason}") from None
        return context


class _UnusableError(Exception):
    pass


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise _UnusableError(f"{path} is no file")
        with path.open("rb") as file:
            content = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise _UnusableError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_PEM_BYTES:
        raise _UnusableError(f"{path} is larger than {MAX_PEM_BYTES} bytes")
    return content
