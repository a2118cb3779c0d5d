"""Serve a local GGUF model over OpenAI's API, with llama.cpp: python -m benchmarks.loop.serve MODEL.gguf [PORT]

Needs `xllamacpp`. On loopback, one request at a time; ends with its stdin.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Serve until stdin ends."""
    from xllamacpp import CommonParams, Server

    path, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8077
    params = CommonParams()
    params.model.path = path
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_ctx, params.n_parallel, params.use_jinja = 4096, 1, True
    params.cpuparams.n_threads = 1  # two threads wait for each other where the cores are shared
    params.model_alias = {"local"}
    server = Server(params)
    print(f"serving {path} on http://127.0.0.1:{port}/v1", flush=True)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
