"""Which traces of a window a decision speaks of: those that can show whether what was resolved is back."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from halo_receiver.store.reader import Reader
from halo_worker.report.decisions import Decision

Releases = Mapping[tuple[str, str], int]


def traces_since(reader: Reader, traces: Collection[str], decision: Decision, releases: Releases) -> int:
    """Count the traces that started after a decision, or ran a release that it speaks of. Needs `overview.prepare`.

    With a release V: traces with a span of V, or of a version of the same service first seen after V. `releases` holds
    when each version of each service was first seen, in unix nanoseconds, this window included. Where V was never seen,
    versions first seen after the decision count.
    """
    if decision.release is None:
        question = "SELECT count(*) AS n FROM _t WHERE list_contains($1, trace_id) AND epoch_ns(start_time) > $2"
        return int(reader.query(question, [sorted(traces), decision.at_ns])[0]["n"])
    ran = _qualifying(decision, decision.release, releases)
    rows = reader.query(
        "SELECT count(DISTINCT trace_id) AS n FROM _s WHERE list_contains($1, trace_id) "
        "AND list_contains($2, service_name || chr(31) || version)",
        [sorted(traces), ["\x1f".join(one) for one in sorted(ran)]],
    )
    return int(rows[0]["n"])


def _qualifying(decision: Decision, release: str, releases: Releases) -> set[tuple[str, str]]:
    came = {service: at for (service, version), at in releases.items() if version == release}
    found = {(service, release) for service in came}
    for (service, version), at in releases.items():
        after = came.get(service) if came else decision.at_ns
        if after is not None and at > after:
            found.add((service, version))
    return found
