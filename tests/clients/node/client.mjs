// A client of the Node SDK: `client.mjs ADDRESS grpc|http|json none|gzip SPANS`.
// Prints every span it ended, one JSON object a line, in the words of tests/clients/spans.py.
import { ROOT_CONTEXT, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtoExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor, RandomIdGenerator } from "@opentelemetry/sdk-trace-base";

const [address, protocol, packed, spans] = process.argv.slice(2);
const count = Number(spans);

const nano = ([seconds, part]) => BigInt(seconds) * 1_000_000_000n + BigInt(part);

function typed(value) {
  if (typeof value === "number") return [Number.isInteger(value) ? "int" : "double", value];
  if (typeof value === "boolean") return ["bool", value];
  return [typeof value === "string" ? "string" : "json", value];
}

const values = (attributes) =>
  Object.fromEntries(Object.entries(attributes ?? {}).map(([key, value]) => [key, typed(value)]));

// JSON with whole numbers of any length.
const line = (told) => JSON.stringify(told, (_, value) => (typeof value === "bigint" ? `#${value}#` : value)).replace(/"#(\d+)#"/g, "$1");

const ledger = {
  onStart() {},
  onEnd(span) {
    const { traceId, spanId } = span.spanContext();
    console.log(
      line({
        trace_id: traceId,
        span_id: spanId,
        parent_span_id: span.parentSpanContext?.spanId ?? null,
        name: span.name,
        kind: span.kind + 1,
        start: nano(span.startTime),
        end: nano(span.endTime),
        status_code: span.status.code,
        status_message: span.status.message ?? null,
        scope_name: span.instrumentationScope.name,
        scope_version: span.instrumentationScope.version,
        attributes: values(span.attributes),
        resource: values(span.resource.attributes),
        events: span.events.map((event) => [event.name, nano(event.time), values(event.attributes)]),
        links: span.links.map((link) => [link.context.traceId, link.context.spanId, values(link.attributes)]),
      }),
    );
  },
  forceFlush: async () => {},
  shutdown: async () => {},
};

const Exporter = { grpc: GrpcExporter, http: ProtoExporter, json: JsonExporter }[protocol];
const exporter = new Exporter({
  url: `http://${address}${protocol === "grpc" ? "" : "/v1/traces"}`,
  compression: packed,
});
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": "node", "host.cpus": 2, "deployment.environment": "näher" }),
  spanProcessors: [ledger, new BatchSpanProcessor(exporter, { maxQueueSize: count + 1 })],
});
const tracer = provider.getTracer("clients", "1.2");
const ids = new RandomIdGenerator();
let parent;
for (let n = 0; n < count; n++) {
  const around = parent && n % 10 ? trace.setSpan(ROOT_CONTEXT, parent) : ROOT_CONTEXT;
  const other = { traceId: ids.generateTraceId(), spanId: ids.generateSpanId(), traceFlags: 1, isRemote: true };
  const links = n % 7 === 0 ? [{ context: other, attributes: { n } }] : [];
  const span = tracer.startSpan(`op ${n % 50} ☂`, { kind: n % 5, links }, around);
  span.setAttributes({ text: `value ${n}`, empty: "", whole: n - 5_000, part: n / 7 + 0.5, yes: n % 2 === 0 });
  span.setAttributes({ list: [n, n + 1], words: ["a", "ß"] });
  if (n % 3 === 0) {
    span.addEvent("happened", { n, why: "ü" });
    span.addEvent("again");
  }
  if (n % 4 === 0) span.setStatus(n % 8 ? { code: SpanStatusCode.ERROR, message: `failed ${n}` } : { code: SpanStatusCode.OK });
  span.end();
  parent = span;
}
await provider.shutdown();
