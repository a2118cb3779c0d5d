"""How fast spans come in: `python -m benchmarks.ingest [PART…] [--seconds S] [--workload llm|plain] [--spans N]`.

Parts: `conventions` (bytes to Arrow, for each recorded convention at several sizes of text, the worst first),
`profile` (CPU per span and stage, in one process), `throughput` (acknowledged and stored, against a server that
receives the same bytes and does nothing), `gzip` (the same with gzip clients), `latency` (acknowledgements at 50
requests/s of 64 spans), `naive` (CPU against MessageToDict and executemany), `memory` (both processes over `--long`
spans), `questions` (overview and one trace over segments of `--long` spans), `seal` (at 5,000 spans/s), `phoenix`
(stored on the same stream by Arize Phoenix of the interpreter `--phoenix PYTHON`), `h2load` (acknowledged to nghttp2's
load generator, a client that is not ours; it sends one request again and again).
Without a part: all but memory, questions and phoenix, which take minutes.

Figures are ratios of one run. Client, server and loader share the machine, so CPU per span is the steadier number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks.ingest import by_convention, paced, served, stages
from benchmarks.ingest.common import say

SPANS = 256  # a request
LONG_PARTS = ("memory", "questions", "phoenix")
Figures = dict[str, float]
ALONE: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "conventions": by_convention.conventions, "latency": paced.latency, "seal": paced.seal_latency,
    "memory": paced.memory, "questions": stages.questions,
}  # fmt: skip
BY_WORKLOAD: dict[str, Callable[[str, argparse.Namespace], Figures]] = {
    "profile": stages.profile, "throughput": served.throughput, "gzip": served.with_gzip, "naive": stages.naive,
    "phoenix": served.with_phoenix, "h2load": served.with_h2load,
}  # fmt: skip
PARTS = (
    "conventions", "profile", "throughput", "gzip", "latency", "naive", "seal", "memory", "questions", "phoenix",
    "h2load",
)  # fmt: skip


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--workload", choices=("llm", "plain"), action="append")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pool", type=int, default=16, help="different requests")
    parser.add_argument("--request", type=int, default=SPANS, help="spans in one")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--long", type=int, default=5_000_000, help="spans for memory and questions")
    parser.add_argument("--phoenix", metavar="PYTHON", help="of an environment with arize-phoenix, for its part")
    parser.add_argument("--segments", type=int, default=24, help="for questions")
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> dict[str, Figures]:
    """Run the parts of `options`; return their figures by part and workload."""
    parts = options.parts or [part for part in PARTS if part not in LONG_PARTS]
    options.ours = {}
    found: dict[str, Figures] = {}
    for part in parts:
        say(f"\n== {part}")
        if part in ALONE:
            found[part] = ALONE[part](options)
            continue
        for workload in options.workload or ("llm", "plain"):
            figures = BY_WORKLOAD[part](workload, options)
            found[f"{part} {workload}"] = figures
            if part == "throughput":
                options.ours[workload] = figures["CPU µs"]
    return found
