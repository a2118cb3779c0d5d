"""`halo ping`: is the receiver of this directory ready? For health checks: by receiver.json, whatever it listens on."""

from __future__ import annotations

from pathlib import Path

import click

from halo_worker import segments_client
from halo_worker.cli.common import everywhere, settings
from halo_worker.cli.console import talk


@click.command("ping")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=4, show_default=True, metavar="SECONDS", help="For an answer."
)
@everywhere
def ping_command(timeout: float, data_dir: Path | None, config: Path | None) -> int:
    """Ask the receiver of the data directory whether it takes requests: exit 0, and 1 where it does not.

    It is found and asked by what it leaves in receiver.json: with TLS, with keys, and with either port off.
    """
    directory = settings(data_dir, config).store.data_dir
    address = segments_client.ReceiverAddress.read(directory)
    if address is None:
        talk(f"not ready: no receiver is running on {directory}")
        return 1
    status = segments_client.status(address, timeout=timeout)
    trouble = status if isinstance(status, str) else status.trouble
    if trouble:
        talk(f"not ready: {trouble}")
        return 1
    click.echo(f"ready: process {address.pid}, gRPC {address.grpc or 'off'}, HTTP {address.http or 'off'}")
    return 0
