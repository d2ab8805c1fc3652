"""OpenCensus' messages, made from its field numbers by protobuf's runtime: an encoding that is not ours.

Source: agent/trace/v1/trace_service.proto, trace/v1/trace.proto, agent/common/v1/common.proto,
resource/v1/resource.proto of census-instrumentation/opencensus-proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "string": FIELD.TYPE_STRING,
    "bytes": FIELD.TYPE_BYTES,
    "int64": FIELD.TYPE_INT64,
    "int32": FIELD.TYPE_INT32,
    "uint64": FIELD.TYPE_UINT64,
    "uint32": FIELD.TYPE_UINT32,
    "bool": FIELD.TYPE_BOOL,
    "double": FIELD.TYPE_DOUBLE,
}
# message -> "name number type", a leading * for repeated, map<value> for a map of texts to it
MESSAGES = {
    "Timestamp": "seconds 1 int64, nanos 2 int32",
    "BoolValue": "value 1 bool",
    "UInt32Value": "value 1 uint32",
    "Truncatable": "value 1 string, truncated_byte_count 2 int32",
    "AttributeValue": "string_value 1 Truncatable, int_value 2 int64, bool_value 3 bool, double_value 4 double",
    "Attributes": "attribute_map 1 map<AttributeValue>, dropped_attributes_count 2 int32",
    "Annotation": "description 1 Truncatable, attributes 2 Attributes",
    "MessageEvent": "type 1 int32, id 2 uint64, uncompressed_size 3 uint64, compressed_size 4 uint64",
    "TimeEvent": "time 1 Timestamp, annotation 2 Annotation, message_event 3 MessageEvent",
    "TimeEvents": "*time_event 1 TimeEvent, dropped_annotations_count 2 int32, dropped_message_events_count 3 int32",
    "Entry": "key 1 string, value 2 string",
    "Tracestate": "*entries 1 Entry",
    "Link": "trace_id 1 bytes, span_id 2 bytes, type 3 int32, attributes 4 Attributes, tracestate 5 Tracestate",
    "Links": "*link 1 Link, dropped_links_count 2 int32",
    "Status": "code 1 int32, message 2 string",
    "Resource": "type 1 string, labels 2 map<string>",
    "Span": (
        "trace_id 1 bytes, span_id 2 bytes, parent_span_id 3 bytes, name 4 Truncatable, start_time 5 Timestamp, "
        "end_time 6 Timestamp, attributes 7 Attributes, time_events 9 TimeEvents, links 10 Links, status 11 Status, "
        "same_process_as_parent_span 12 BoolValue, child_span_count 13 UInt32Value, kind 14 int32, "
        "tracestate 15 Tracestate, resource 16 Resource"
    ),
    "Identifier": "host_name 1 string, pid 2 uint32, start_timestamp 3 Timestamp",
    "Library": "language 1 int32, exporter_version 2 string, core_library_version 3 string",
    "Service": "name 1 string",
    "Node": "identifier 1 Identifier, library_info 2 Library, service_info 3 Service, attributes 4 map<string>",
    "Request": "node 1 Node, *spans 2 Span, resource 3 Resource",
}


def _made() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="opencensus_for_tests.proto", package="oc", syntax="proto3")
    for name, declared in MESSAGES.items():
        message = file.message_type.add(name=name)
        for words in declared.split(", "):
            label, number, kind = words.split()
            field = message.field.add(name=label.lstrip("*"), number=int(number))
            field.label = FIELD.LABEL_REPEATED if label[0] == "*" or kind.startswith("map<") else FIELD.LABEL_OPTIONAL
            if kind.startswith("map<"):
                title = "".join(map(str.capitalize, label.split("_"))) + "Entry"
                entry = message.nested_type.add(name=title)
                entry.options.map_entry = True
                for inner, inner_number, inner_kind in (("key", 1, "string"), ("value", 2, kind[4:-1])):
                    part = entry.field.add(name=inner, number=inner_number, label=FIELD.LABEL_OPTIONAL)
                    _type(part, inner_kind)
                field.type, field.type_name = FIELD.TYPE_MESSAGE, f".oc.{name}.{title}"
            else:
                _type(field, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"oc.{name}")) for name in MESSAGES}


def _type(field: Any, kind: str) -> None:
    if kind in SCALARS:
        field.type = SCALARS[kind]
    else:
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".oc.{kind}"


CLASSES = _made()
Request = CLASSES["Request"]
