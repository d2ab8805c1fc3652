// A client of the Go SDK: `client ADDRESS grpc|http none|gzip SPANS`.
// Prints every span it ended, one JSON object a line, in the words of tests/clients/spans.py.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

type object = map[string]any

func values(attributes []attribute.KeyValue) object {
	found := object{}
	for _, one := range attributes {
		kind := "json"
		switch one.Value.Type() {
		case attribute.STRING:
			kind = "string"
		case attribute.BOOL:
			kind = "bool"
		case attribute.INT64:
			kind = "int"
		case attribute.FLOAT64:
			kind = "double"
		}
		found[string(one.Key)] = []any{kind, one.Value.AsInterface()}
	}
	return found
}

// The SDK numbers statuses otherwise than OTLP does.
var statuses = map[codes.Code]int{codes.Unset: 0, codes.Ok: 1, codes.Error: 2}

type ledger struct{ out *json.Encoder }

func (l ledger) OnStart(context.Context, sdk.ReadWriteSpan) {}

func (l ledger) OnEnd(span sdk.ReadOnlySpan) {
	var parent, message any
	if span.Parent().SpanID().IsValid() {
		parent = span.Parent().SpanID().String()
	}
	if span.Status().Description != "" {
		message = span.Status().Description
	}
	events, links := [][]any{}, [][]any{}
	for _, event := range span.Events() {
		events = append(events, []any{event.Name, event.Time.UnixNano(), values(event.Attributes)})
	}
	for _, link := range span.Links() {
		where := link.SpanContext
		links = append(links, []any{where.TraceID().String(), where.SpanID().String(), values(link.Attributes)})
	}
	err := l.out.Encode(object{
		"trace_id":       span.SpanContext().TraceID().String(),
		"span_id":        span.SpanContext().SpanID().String(),
		"parent_span_id": parent,
		"name":           span.Name(),
		"kind":           int(span.SpanKind()),
		"start":          span.StartTime().UnixNano(),
		"end":            span.EndTime().UnixNano(),
		"status_code":    statuses[span.Status().Code],
		"status_message": message,
		"scope_name":     span.InstrumentationScope().Name,
		"scope_version":  span.InstrumentationScope().Version,
		"attributes":     values(span.Attributes()),
		"resource":       values(span.Resource().Attributes()),
		"events":         events,
		"links":          links,
	})
	if err != nil {
		log.Fatal(err)
	}
}

func (l ledger) Shutdown(context.Context) error   { return nil }
func (l ledger) ForceFlush(context.Context) error { return nil }

func exporter(ctx context.Context, address, protocol, packed string) (*otlptrace.Exporter, error) {
	if protocol == "grpc" {
		options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(address), otlptracegrpc.WithInsecure()}
		if packed == "gzip" {
			options = append(options, otlptracegrpc.WithCompressor("gzip"))
		}
		return otlptracegrpc.New(ctx, options...)
	}
	options := []otlptracehttp.Option{otlptracehttp.WithEndpoint(address), otlptracehttp.WithInsecure()}
	if packed == "gzip" {
		options = append(options, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	}
	return otlptracehttp.New(ctx, options...)
}

func main() {
	address, protocol, packed := os.Args[1], os.Args[2], os.Args[3]
	count, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	sends, err := exporter(ctx, address, protocol, packed)
	if err != nil {
		log.Fatal(err)
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	provider := sdk.NewTracerProvider(
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "go"),
			attribute.Int("host.cpus", 2),
			attribute.String("deployment.environment", "näher"),
		)),
		sdk.WithSpanProcessor(ledger{json.NewEncoder(out)}),
		sdk.WithBatcher(sends, sdk.WithMaxQueueSize(count+1), sdk.WithBatchTimeout(time.Hour)),
	)
	tracer := provider.Tracer("clients", trace.WithInstrumentationVersion("1.2"))
	kinds := []trace.SpanKind{
		trace.SpanKindInternal, trace.SpanKindServer, trace.SpanKindClient, trace.SpanKindProducer, trace.SpanKindConsumer,
	}
	var parent trace.Span
	for n := range count {
		around := ctx
		if parent != nil && n%10 != 0 {
			around = trace.ContextWithSpan(ctx, parent)
		}
		options := []trace.SpanStartOption{trace.WithSpanKind(kinds[n%5])}
		if n%7 == 0 {
			var traceID trace.TraceID
			var spanID trace.SpanID
			rand.Read(traceID[:])
			rand.Read(spanID[:])
			other := trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, Remote: true})
			options = append(options, trace.WithLinks(
				trace.Link{SpanContext: other, Attributes: []attribute.KeyValue{attribute.Int("n", n)}}))
		}
		_, span := tracer.Start(around, fmt.Sprintf("op %d ☂", n%50), options...)
		span.SetAttributes(
			attribute.String("text", fmt.Sprintf("value %d", n)),
			attribute.String("empty", ""),
			attribute.Int64("whole", int64(n-5_000)),
			attribute.Int64("far", math.MinInt64+int64(n)),
			attribute.Float64("part", float64(n)/7),
			attribute.Bool("yes", n%2 == 0),
			attribute.IntSlice("list", []int{n, n + 1}),
			attribute.StringSlice("words", []string{"a", "ß"}),
		)
		if n%3 == 0 {
			span.AddEvent("happened", trace.WithAttributes(attribute.Int("n", n), attribute.String("why", "ü")))
			span.AddEvent("again")
		}
		if n%8 == 0 {
			span.SetStatus(codes.Ok, "")
		} else if n%4 == 0 {
			span.SetStatus(codes.Error, fmt.Sprintf("failed %d", n))
		}
		span.End()
		parent = span
	}
	if err := provider.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
}
