# pip install langgraph langchain-openai openinference-instrumentation-langchain opentelemetry-sdk \
#     opentelemetry-exporter-otlp-proto-grpc
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
LangChainInstrumentor().instrument(tracer_provider=provider)

model = ChatOpenAI(model="gpt-5.4-mini")


def support(state: MessagesState) -> dict[str, list[AnyMessage]]:
    return {"messages": [model.invoke(state["messages"])]}


graph = StateGraph(MessagesState).add_node(support).add_edge(START, "support").compile(name="support-agent")
print(graph.invoke({"messages": [HumanMessage("Where is my order?")]})["messages"][-1].content)
provider.shutdown()
