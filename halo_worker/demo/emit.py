"""Sends the fleet's traffic as OTLP over gRPC, gzipped, through OpenTelemetry's own SDK and exporter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from grpc import Compression
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer, format_trace_id

from halo_worker.demo.fleet import FLEET, Visit, visits
from halo_worker.demo.recorder import Agent, Clock, converse
from halo_worker.errors import HaloError

BATCH_SPANS = 1_000
EXPORT_SECONDS = 30
# A long conversation flattened by OpenInference has more than the SDK's default of 128 attributes.
MAX_ATTRIBUTES = 2_000


@dataclass(slots=True)
class Planted:
    """A failure mode that was put in, and the traces that have it."""

    key: str
    title: str
    agent: str
    trace_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Emitted:
    """What was sent and acknowledged, and the truth about it."""

    spans: int = 0
    traces: int = 0
    truth: list[Planted] = field(default_factory=list)


class NotAcknowledged(HaloError):  # noqa: N818 - reads as the sentence it is raised for
    """The receiver did not take a batch."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"{endpoint} did not acknowledge a batch of spans", hint="see what the receiver says on stderr"
        )


class _Ids(IdGenerator):
    """Ids from a seed: the same fleet has the same ids."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"ids {seed}")

    def generate_span_id(self) -> int:
        return self._rng.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._rng.getrandbits(128) or 1


class _Collect(SpanProcessor):
    """Keeps finished spans until they are exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Tracers:
    """One provider for each build of a service, as there would be one in each process."""

    def __init__(self, processor: SpanProcessor, ids: IdGenerator) -> None:
        self._processor, self._ids = processor, ids
        self._tracers: dict[tuple[str, str], Tracer] = {}

    def of(self, agent: Agent) -> Tracer:
        key = (agent.service, agent.version)
        if key not in self._tracers:
            resource = Resource(
                {
                    "service.name": agent.service,
                    "service.version": agent.version,
                    "deployment.environment.name": "production",
                    "telemetry.sdk.language": "python",
                    "telemetry.sdk.name": "opentelemetry",
                }
            )
            limits = SpanLimits(max_span_attributes=MAX_ATTRIBUTES)
            provider = TracerProvider(
                ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids, span_limits=limits
            )
            provider.add_span_processor(self._processor)
            self._tracers[key] = provider.get_tracer(agent.convention.scope, agent.convention.scope_version)
        return self._tracers[key]


def emit(endpoint: str, *, now_ns: int, days: int = 5, traces_per_day: int = 400, seed: int = 7) -> Emitted:
    """Send `days` days of traffic that end at `now_ns` to `endpoint` (HOST:PORT, plaintext), and return what was planted.

    The same arguments send the same spans, ids and times included. Raises NotAcknowledged.
    """
    emitted = Emitted(truth=[Planted(m.key, m.title, team.agent(0).name) for team in FLEET for m in team.modes])
    planted = {mode.key: mode for mode in emitted.truth}
    collected = _Collect()
    tracers = _Tracers(collected, _Ids(seed))
    exporter = OTLPSpanExporter(endpoint, insecure=True, compression=Compression.Gzip, timeout=EXPORT_SECONDS)

    def send() -> None:
        if collected.spans and exporter.export(collected.spans) is not SpanExportResult.SUCCESS:
            raise NotAcknowledged(endpoint)
        emitted.spans += len(collected.spans)
        collected.spans.clear()

    try:
        for visit in visits(now_ns=now_ns, days=days, traces_per_day=traces_per_day, seed=seed):
            trace_id = _play(visit, tracers.of(visit.agent))
            emitted.traces += 1
            if visit.mode:
                planted[visit.mode.key].trace_ids.append(trace_id)
            if len(collected.spans) >= BATCH_SPANS:
                send()
        send()
    finally:
        exporter.shutdown()
    return emitted


def _play(visit: Visit, tracer: Tracer) -> str:
    rng = random.Random(visit.seed)
    case = f"case {visit.seed}"  # drawn from twice: by the question, and by the scenario that answers it
    text = visit.team.module.question(visit.scenario.__name__, random.Random(case))
    session, user = f"sess-{rng.getrandbits(40):010x}", f"user-{rng.randrange(1, 900)}"
    with converse(
        tracer, visit.agent, text, rng, random.Random(case), Clock(visit.start_ns), session=session, user=user
    ) as conversation:
        visit.scenario(conversation)
    return format_trace_id(conversation.span.get_span_context().trace_id)
