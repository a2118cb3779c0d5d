"""Planted failures found, false findings on healthy traces, time and memory.

`python -m benchmarks.detectors [TRACES] [SEED] [FLEET]`; FLEET is `fleet`, which the detectors were made against, or
`strangers`, which was written apart from them.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from halo_receiver.decode import decode_traces
from halo_receiver.span import Span
from halo_worker.analysis.detectors import run_detectors
from tests.generator.fleet import Truth, fleet
from tests.generator.load import reader_of, store
from tests.generator.score import score
from tests.generator.strangers import strangers


def main() -> None:
    """Generate, store, detect, score, print."""
    traces = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 20260822
    which = sys.argv[3] if len(sys.argv) > 3 else "fleet"
    truths: list[Truth] = []

    def spans() -> Iterator[Span]:
        if which == "strangers":
            for made, truth in strangers(traces, seed=seed):
                truths.append(truth)
                yield from made
            return
        for request, truth in fleet(traces, seed=seed):
            truths.append(truth)
            yield from decode_traces(request.SerializeToString(), encoding="protobuf").spans

    with tempfile.TemporaryDirectory() as folder:
        segment = store(spans(), Path(folder))
        with reader_of([segment]) as reader:
            count = reader.query("SELECT count(*) AS n FROM spans")[0]["n"]
            started = time.monotonic()
            draft = run_detectors(reader)
            seconds = time.monotonic() - started
    result = score(draft, truths)
    print(f"{'mode':<20}{'planted':>8}{'found':>8}{'fitting':>8}{'located':>8}")
    for mode, (planted, found, fitting, located) in sorted(result.modes.items()):
        print(f"{mode:<20}{planted:>8}{found:>8}{fitting:>8}{located:>8}")
    print(f"\n{'detector':<34}{'traces named':>14}{'fitting':>10}{'precision':>11}")
    for detector, (said, fits) in sorted(result.detectors.items()):
        print(f"{detector:<34}{said:>14}{fits:>10}{fits / said:>11.2f}")
    wrong = Counter(item[:3] for item in result.false).most_common(12)
    print(f"\nfalse findings, by scenario, detector: {wrong}")
    print(
        f"macro recall {result.recall:.3f}, fitting category {result.fitting:.3f}, located {result.located:.3f}; "
        f"false per 1,000 clean traces {result.false_per_thousand:.1f} ({result.clean} clean)"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} spans in {seconds:.2f} s, {len(draft.findings)} findings, peak {peak:.0f} MiB with generation")


if __name__ == "__main__":
    main()
