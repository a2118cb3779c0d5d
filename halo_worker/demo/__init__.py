"""A believable fleet of agents, sent through a real OTLP exporter, received, analysed and reported.

With `telemetry`, one of the worker's two doors to the OpenTelemetry SDK. `emit` sends, `stage.show` is `halo demo`.
"""

from halo_worker.demo.emit import Emitted, Planted, emit

__all__ = ["Emitted", "Planted", "emit"]
