"""A gRPC server that receives export requests and does nothing with the bytes. `python -m benchmarks.null_server`.

What any receiver in Python pays at least. It inflates nothing either, unless `--inflate` leaves that to grpc.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio
import uvloop

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


async def _serve(inflate: bool) -> None:
    async def handle(_body: bytes, _context: Any) -> bytes:
        return b""

    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", 64 * 2**20),
            ("grpc.per_message_decompression", int(inflate)),
            ("grpc.so_reuseport", 0),
        ]
    )
    methods = {"Export": grpc.unary_unary_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(_serve("--inflate" in sys.argv))
