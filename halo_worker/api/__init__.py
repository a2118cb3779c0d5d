"""halo from Python: the six functions of the published HALO engine, and `analyze`, which returns a report.

    from pathlib import Path
    from halo_worker.api import AgentConfig, AgentMessage, EngineConfig, ModelConfig, run_engine

    agent = AgentConfig(name="root", model=ModelConfig(name="gpt-5.4-mini"), maximum_turns=20)
    question = AgentMessage(role="user", content="Why do refunds fail?")
    for output in run_engine([question], EngineConfig(root_agent=agent, subagent=agent), Path("traces.jsonl")):
        print(output.item.content)

`trace_paths` is a file, several, or a data directory. The asynchronous functions need a running loop, the others must
not be called within one. No function needs a `__main__` guard: nothing here imports the caller's script again.
"""

from halo_worker.api.analysis import analyze
from halo_worker.api.engine import (
    run_engine,
    run_engine_async,
    stream_engine,
    stream_engine_async,
    stream_engine_output,
    stream_engine_output_async,
)
from halo_worker.api.types import (
    AgentConfig,
    AgentMessage,
    AgentOutputItem,
    AgentTextDelta,
    AgentToolCall,
    AgentToolFunction,
    EngineConfig,
    ModelConfig,
    ModelProviderConfig,
    RunCheckpoint,
    TraceIndexConfig,
)

__all__ = [
    "AgentConfig",
    "AgentMessage",
    "AgentOutputItem",
    "AgentTextDelta",
    "AgentToolCall",
    "AgentToolFunction",
    "EngineConfig",
    "ModelConfig",
    "ModelProviderConfig",
    "RunCheckpoint",
    "TraceIndexConfig",
    "analyze",
    "run_engine",
    "run_engine_async",
    "stream_engine",
    "stream_engine_async",
    "stream_engine_output",
    "stream_engine_output_async",
]
