# pip install openai opentelemetry-instrumentation-openai-v2 "opentelemetry-util-genai<1" opentelemetry-sdk \
#     opentelemetry-exporter-otlp-proto-grpc
# This instrumentation writes messages as log events, so logs are exported, too:
#   export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true
# Newer releases put them on the span with OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental and =SPAN_ONLY.
from openai import OpenAI
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

spans, logs = TracerProvider(), LoggerProvider()
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
OpenAIInstrumentor().instrument(tracer_provider=spans, logger_provider=logs)

answer = OpenAI().chat.completions.create(
    model="gpt-5.4-mini", messages=[{"role": "user", "content": "Where is my order?"}]
)
print(answer.choices[0].message.content)
spans.shutdown()
logs.shutdown()
