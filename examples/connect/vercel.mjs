// npm install ai @ai-sdk/openai @ai-sdk/otel @opentelemetry/resources @opentelemetry/sdk-trace-node @opentelemetry/exporter-trace-otlp-grpc
import { createOpenAI } from '@ai-sdk/openai';
import { OpenTelemetry } from '@ai-sdk/otel';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { generateText, registerTelemetry } from 'ai';

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': process.env.OTEL_SERVICE_NAME ?? 'support-api' }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
// Before version 7 the SDK has neither this nor @ai-sdk/otel: leave both out, and write
// experimental_telemetry: { isEnabled: true, functionId: 'support-agent' } in each call.
registerTelemetry(new OpenTelemetry({ runtimeContext: true, usage: true }));

const { text } = await generateText({
  model: createOpenAI({ baseURL: process.env.OPENAI_BASE_URL }).chat('gpt-5.4-mini'),
  prompt: 'Where is my order?',
  // functionId names the agent; recordInputs and recordOutputs are on unless you turn them off
  telemetry: { functionId: 'support-agent', includeRuntimeContext: { sessionId: true, userId: true } },
  runtimeContext: { sessionId: 'chat-42', userId: 'user-7' },
});
console.log(text);
await provider.shutdown();
