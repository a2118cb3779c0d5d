// A support agent with one tool on Vercel's AI SDK, whose telemetry halo understands as it is.
//
// npm install && OTEL_SERVICE_NAME=support-api OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 npm start "Where is order 17?"
import { createOpenAI } from '@ai-sdk/openai';
import { OpenTelemetry } from '@ai-sdk/otel';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { generateText, registerTelemetry, stepCountIs, tool } from 'ai';
import { z } from 'zod';

const orders: Record<string, string> = { '17': 'shipped on Monday' };

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': process.env.OTEL_SERVICE_NAME ?? 'support-api' }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
registerTelemetry(new OpenTelemetry());

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });

const { text } = await generateText({
  model: openai.chat('gpt-5.4-mini'),
  prompt: process.argv.slice(2).join(' ') || 'Where is order 17?',
  stopWhen: stepCountIs(5),
  tools: {
    lookup_order: tool({
      description: 'Look an order up by its number.',
      inputSchema: z.object({ number: z.string() }),
      execute: async ({ number }: { number: string }): Promise<string> => {
        if (!(number in orders)) throw new Error(`there is no order ${number}`);
        return orders[number];
      },
    }),
  },
  telemetry: { functionId: 'support-agent' },
});
console.log(text);
await provider.shutdown();
