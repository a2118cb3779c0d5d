/* The scanner: the columns of span_rows, what is known of keys, and the attributes and events of the span being read. */
#ifndef HALO_SCANNER_H
#define HALO_SCANNER_H

#include "messages.h"
#include "values.h"

enum {
  TRACE_ID, SPAN_ID, PARENT, TRACE_STATE, FLAGS, NAME, KIND, START, END, DURATION, STATUS_CODE, STATUS_MESSAGE, SERVICE,
  SCOPE_NAME, SCOPE_VERSION, RESOURCE, SCOPE, KEYS, VALUES, LONG, EVENTS, LINKS, DROPPED_ATTRIBUTES, DROPPED_EVENTS,
  DROPPED_LINKS, RESOURCE_SCHEMA, SCOPE_SCHEMA, RESOURCE_DROPPED, SCOPE_DROPPED, RECEIVED, TEXTS,
  CONVENTION, SPAN_TYPE, MODEL, PROVIDER, AGENT_NAME, SESSION_ID, USER_ID, TOOL_NAME, TOOL_CALL_ID, TOOLS_OFFERED,
  TOOL_DEFINITIONS, INPUT_MESSAGES, OUTPUT_MESSAGES, INPUT_TEXT, OUTPUT_TEXT, FINISH_REASON, MAX_OUTPUT_TOKENS,
  INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS, REASONING_TOKENS, COST, COST_ESTIMATED, ERROR_TYPE, ERROR_MESSAGE,
  ERROR_SIGNATURE, COLUMNS
};

/* What columns.py makes of a column: s text, u uint32, i int64, t time, f double, b boolean, l list of text, k links */
static const struct {
  const char *name;
  char kind;
} LAYOUT[COLUMNS] = {
    {"trace_id", 's'}, {"span_id", 's'}, {"parent_span_id", 's'}, {"trace_state", 's'}, {"flags", 'u'}, {"name", 's'},
    {"kind", 's'}, {"start_time", 't'}, {"end_time", 't'}, {"duration_ns", 'i'}, {"status_code", 's'},
    {"status_message", 's'}, {"service_name", 's'}, {"scope_name", 's'}, {"scope_version", 's'},
    {"resource_attributes", 's'}, {"scope_attributes", 's'}, {"attribute_keys", 'l'}, {"attribute_values", 'l'},
    {"long_attributes", 's'}, {"events", 's'}, {"links", 'k'}, {"dropped_attributes", 'u'}, {"dropped_events", 'u'},
    {"dropped_links", 'u'}, {"resource_schema_url", 's'}, {"scope_schema_url", 's'}, {"resource_dropped_attributes", 'u'},
    {"scope_dropped_attributes", 'u'}, {"received_at", 't'}, {"texts", 's'}, {"convention", 's'}, {"span_type", 's'}, {"model", 's'},
    {"provider", 's'}, {"agent_name", 's'}, {"session_id", 's'}, {"user_id", 's'}, {"tool_name", 's'},
    {"tool_call_id", 's'}, {"tools_offered", 'l'}, {"tool_definitions", 's'}, {"input_messages", 's'},
    {"output_messages", 's'}, {"input_text", 's'}, {"output_text", 's'}, {"finish_reason", 's'},
    {"max_output_tokens", 'i'}, {"input_tokens", 'i'}, {"output_tokens", 'i'}, {"cached_tokens", 'i'},
    {"reasoning_tokens", 'i'}, {"cost_usd", 'f'}, {"cost_estimated", 'b'}, {"error_type", 's'}, {"error_message", 's'},
    {"error_signature", 's'},
};

enum { L_TRACE_ID, L_SPAN_ID, L_TRACE_STATE, L_FLAGS, L_ATTRIBUTES, L_DROPPED, LINK_COLUMNS };
static const char LINK_KINDS[LINK_COLUMNS] = {'s', 's', 's', 'u', 's', 'u'};

enum { K_SPEAKS = 1, K_ERROR = 2 }; /* what is known of a key: it speaks for a convention; it is error.type */

#define LONG_VALUE 512                 /* columns.LONG_VALUE */
#define MAX_FOLDED_BYTES ((size_t)65536) /* text_folding.MAX_FOLDED_BYTES */
#define SEPARATOR 0x1e                 /* text_folding.SEPARATOR */
#define MAX_ATTRIBUTES 4096

typedef struct Shapes Shapes;

/* What Python made of a text, for texts that repeat themselves: providers, definitions of tools. */
#define MAX_MEMOS 128
#define MAX_MEMO_BYTES 16384

typedef struct {
  PyObject *call, *result; /* owned */
  Slice text;              /* owned */
  uint32_t hash;
} Memo;

typedef struct {
  PyObject_HEAD
  Column columns[COLUMNS];
  Column keys, values, offered; /* what the lists hold */
  Column links[LINK_COLUMNS];
  Keys known;
  Attribute *attributes; /* of the span or event being read, the inner one behind the outer one */
  size_t held;
  Buffer resource, scope; /* JSON of the group being read */
  PyObject *meaning, *group;    /* what Python makes of a span, and of a scope */
  PyObject *plan;               /* what it plans for a shape: plan.h */
  PyObject *unwrapped, *loads, *estimate, *finish_reason;
  Shapes *shapes;
  Memo *memos;
  Speech speech[3];             /* system, asked, answered */
  Arena texts;                  /* what JSON strings of the span being read say */
  Buffer joined;                /* the JSON of the first two */
  Walk walk; /* of the request that is being read */
  long long duplicates; /* of keys in the request that was read last */
  size_t limit;
  bool span_time;
} Scanner;

typedef struct {
  Slice service, scope_name, scope_version, resource_schema, scope_schema;
  uint32_t resource_dropped, scope_dropped;
  PyObject *scope; /* what `group` returned: None where no convention is known by the scope alone */
  bool spoken_for;
} Group;

static bool short_text(const Scanner *s, Slice text) {
  return text.size <= s->limit && utf8_valid(text.data, text.size);
}

/* Push an attribute; of a key that this group has already, the value replaces the earlier one, as in a dict. */
static bool take_attribute(Scanner *s, Slice pair) {
  Slice key;
  if (s->held == MAX_ATTRIBUTES) return false;
  Attribute *attribute = &s->attributes[s->held];
  if (!read_pair(pair, &key, &attribute->value, s->limit)) return false;
  attribute->key = key_find(&s->known, key);
  if (!attribute->key || key.size > s->limit) return false;
  if (attribute->key->seen == s->known.group) {
    Attribute *earlier = attribute - 1;
    while (earlier->key != attribute->key) earlier--;
    const Value *gone = &earlier->value; /* the reference counts what it repairs in it */
    if (gone->type == T_ARRAY || gone->type == T_PAIRS) return false;
    if (gone->type == T_STRING && !utf8_valid(gone->bytes.data, gone->bytes.size)) return false;
    earlier->value = attribute->value;
    s->duplicates++;
    return true;
  }
  attribute->key->seen = s->known.group;
  s->held++;
  return true;
}

static bool json_attributes(Buffer *out, const Attribute *attributes, size_t count, size_t limit) {
  if (!buffer_byte(out, '{')) return false;
  for (size_t i = 0; i < count; i++) {
    Slice key = attributes[i].key->json;
    if ((i && !buffer_byte(out, ',')) || !buffer_add(out, key.data, key.size) || !buffer_byte(out, ':')) return false;
    if (json_value(out, &attributes[i].value, limit, 0) < 0) return false;
  }
  return buffer_byte(out, '}');
}

static PyObject *python_attributes(const Attribute *attributes, size_t count, size_t limit) {
  PyObject *dict = PyDict_New();
  for (size_t i = 0; dict && i < count; i++) {
    PyObject *value = python_value(&attributes[i].value, limit, 0);
    if (!value || PyDict_SetItem(dict, attributes[i].key->string, value) < 0) Py_CLEAR(dict);
    Py_XDECREF(value);
  }
  return dict;
}

/* Read a message that has attributes in one field and nothing else of interest there; they are left on the stack. */
static bool take_attributes_of(Scanner *s, Slice message, uint32_t number) {
  Reader r = reader_of(message);
  Field f;
  int got;
  s->known.group++;
  while ((got = next_field(&r, &f)) > 0) {
    if (f.number == number && (f.wire != 2 || !take_attribute(s, f.bytes))) return false;
  }
  return got == 0;
}

typedef struct {
  uint64_t time;
  Slice name;
  uint32_t dropped;
} Event;

/* Read an event; its attributes are left on the stack. */
static bool read_event(Scanner *s, Slice message, Event *event) {
  Reader r = reader_of(message);
  Field f;
  int got;
  memset(event, 0, sizeof *event);
  if (!take_attributes_of(s, message, 3)) return false;
  while ((got = next_field(&r, &f)) > 0) {
    switch (f.number) {
      case 1:
        if (f.wire != 1) return false;
        event->time = f.value;
        break;
      case 2:
        if (f.wire != 2) return false;
        event->name = f.bytes;
        break;
      case 4:
        if (f.wire != 0) return false;
        event->dropped = (uint32_t)f.value;
        break;
    }
  }
  return got == 0 && event->time <= INT64_MAX && event->name.size <= s->limit;
}

static bool write_event(Scanner *s, Slice message, Buffer *out, Slice *name) {
  Event event;
  size_t before = s->held;
  bool done = read_event(s, message, &event);
  if (done) {
    done = buffer_add(out, "{\"time\":", 8) &&
           (event.time ? json_integer(out, (int64_t)event.time) : buffer_add(out, "null", 4)) &&
           buffer_add(out, ",\"name\":", 8) && json_string(out, event.name.data, event.name.size) >= 0 &&
           buffer_add(out, ",\"attributes\":", 14) &&
           json_attributes(out, s->attributes + before, s->held - before, s->limit) &&
           buffer_add(out, ",\"dropped_attributes\":", 22) && json_integer(out, event.dropped) && buffer_byte(out, '}');
  }
  s->held = before;
  *name = event.name;
  return done;
}

static PyObject *python_event(Scanner *s, Slice message) {
  Event event;
  size_t before = s->held;
  long long counted = s->duplicates; /* by write_event */
  PyObject *result = NULL;
  if (read_event(s, message, &event)) {
    PyObject *attributes = python_attributes(s->attributes + before, s->held - before, s->limit);
    if (attributes) {
      result = Py_BuildValue("(Ks#NI)", (unsigned long long)event.time, event.name.data ? (const char *)event.name.data : "",
                             (Py_ssize_t)event.name.size, attributes, event.dropped);
    }
  }
  s->held = before;
  s->duplicates = counted;
  return result;
}

#endif
