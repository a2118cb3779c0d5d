/* What a span means, filled by a plan: conventions/meaning.py in C, for values of the usual types.
 *
 * Three ways, from the quickest: here; a field by Python, of a reading that is made when the first field needs it; the
 * whole span by Python. Whatever is unusual takes the next one, so this file needs to be right about the usual only.
 */
#ifndef HALO_MEANING_H
#define HALO_MEANING_H

#include "plan.h"

#define MEANT (COLUMNS - CONVENTION)
#define MAX_RESULT_HEAD 8000 /* bytes: results._MAX_HEAD characters */
#define MAX_FIELDS_OF_SAID 3

typedef struct {
  enum { IS_NOTHING, IS_TEXT, IS_COUNT, IS_AMOUNT, IS_OBJECT } is;
  Slice text;
  int64_t count;
  double amount;
  PyObject *object; /* kept by the span */
} Said;

/* A value that a source leads to: OTLP's, or Python's, or the JSON of a structure. */
typedef struct {
  Value value;
  PyObject *object; /* kept by the span */
  Slice json;
} Found;

typedef struct {
  Slice json, first, asked, user, assistant, answer; /* data NULL: None */
  PyObject *reason;
} Summary;

typedef struct {
  Scanner *s;
  PyObject *scope;
  Slice name, status, message;
  const Slice *events;
  size_t event_count, own;
  uint64_t start;
  SpanShape *shape;
  Plan *plan;
  PyObject *type, *reading;
  PyObject *kept; /* a list of what the others point to */
  bool denied;
  Said said[MEANT];
} Meaning;

/* Take ownership of an object for as long as the span is read. */
static PyObject *keep(Meaning *m, PyObject *owned) {
  if (!owned) return NULL;
  if (!m->kept) m->kept = PyList_New(0);
  bool done = m->kept && !PyList_Append(m->kept, owned);
  Py_DECREF(owned);
  return done ? owned : NULL;
}

static PyObject *python_name(Slice text) {
  return PyUnicode_DecodeUTF8(text.data ? (const char *)text.data : "", (Py_ssize_t)text.size, NULL);
}

static bool begins_with(Slice text, Slice with) {
  return text.size >= with.size && !memcmp(text.data, with.data, with.size);
}

static bool begins(Slice text, const char *with) { return begins_with(text, slice_of(with)); }

static bool same_text(Slice a, Slice b) { return a.size == b.size && begins_with(a, b); }

/* ---- values */

/* What Python gave as a value: 1, 0 when it is None, -1 not sure. */
static int found_python(Meaning *m, PyObject *owned, Found *found) {
  if (!keep(m, owned)) return -1;
  *found = (Found){.object = owned};
  if (owned == Py_None) return 0;
  if (PyUnicode_CheckExact(owned)) {
    found->value.type = T_STRING;
    return python_text(owned, &found->value.bytes) ? 1 : -1;
  }
  if (PyBool_Check(owned)) {
    found->value.type = T_BOOL;
  } else if (PyLong_CheckExact(owned)) {
    int overflow;
    found->value.bits = (uint64_t)PyLong_AsLongLongAndOverflow(owned, &overflow);
    if (!overflow) found->value.type = T_INT;
  } else if (PyFloat_CheckExact(owned)) {
    double value = PyFloat_AsDouble(owned);
    memcpy(&found->value.bits, &value, 8);
    found->value.type = T_DOUBLE;
  }
  return 1;
}

/* The value as Python has it. */
static PyObject *found_object(Meaning *m, Found *found) {
  if (found->object) return found->object;
  if (found->json.data) {
    found->object = keep(m, PyObject_CallFunction(m->s->loads, "y#", found->json.data, (Py_ssize_t)found->json.size));
    if (found->object == Py_None) found->object = NULL;
  } else {
    found->object = keep(m, python_value(&found->value, m->s->limit, 0));
  }
  return found->object;
}

static void memo_empty(Memo *memo) {
  Py_CLEAR(memo->call);
  Py_CLEAR(memo->result);
  free((void *)(uintptr_t)memo->text.data);
  memset(memo, 0, sizeof *memo);
}

static Memo *memo_find(Scanner *s, PyObject *call, Slice text, uint32_t kind, uint32_t *hash) {
  *hash = hash_of(text.data, text.size) ^ (uint32_t)((uintptr_t)call >> 4) ^ kind;
  return &s->memos[*hash % MAX_MEMOS];
}

/* What was made of this text before, kept by the span; NULL: nothing. */
static PyObject *recall(Meaning *m, PyObject *call, Slice text, uint32_t kind) {
  uint32_t hash;
  const Memo *memo = memo_find(m->s, call, text, kind, &hash);
  bool known = memo->call == call && memo->hash == hash && same_text(memo->text, text);
  return known ? keep(m, Py_NewRef(memo->result)) : NULL;
}

/* Note what was made of a text, if there is memory. */
static void note(Meaning *m, PyObject *call, Slice text, uint32_t kind, PyObject *result) {
  uint32_t hash;
  Memo *memo = memo_find(m->s, call, text, kind, &hash);
  uint8_t *copy = text.size <= MAX_MEMO_BYTES ? malloc(text.size + 1) : NULL;
  if (!copy) return;
  if (text.size) memcpy(copy, text.data, text.size);
  memo_empty(memo);
  *memo = (Memo){Py_NewRef(call), Py_NewRef(result), {copy, text.size}, hash};
}

enum { OF_TEXT, OF_JSON, OF_FLAT };

/* Call Python with a value; with a text that it was called with before, take what it said then. */
static PyObject *call_with(Meaning *m, PyObject *call, Found *found) {
  uint32_t kind = found->json.data ? OF_JSON : OF_TEXT;
  Slice text = found->json.data ? found->json : found->value.type == T_STRING ? found->value.bytes : (Slice){NULL, 0};
  PyObject *result = text.data && text.size <= MAX_MEMO_BYTES ? recall(m, call, text, kind) : NULL;
  if (result) return result;
  PyObject *object = found_object(m, found);
  result = object ? keep(m, PyObject_CallFunctionObjArgs(call, object, NULL)) : NULL;
  if (result && text.data) note(m, call, text, kind, result);
  return result;
}

/* ---- where a value lies */

/* The text of a whole JSON string. */
static bool json_whole_text(Scanner *s, Slice json, Slice *text) {
  Json j = {json.data, json.data + json.size};
  return tree_text(&s->texts, &j, text) && j.at == j.end;
}

static int find_attribute(Meaning *m, uint32_t place, Found *found) {
  if (place >= m->own) return 0;
  *found = (Found){.value = m->s->attributes[place].value};
  if (found->value.type == T_NULL) return 0;
  Slice text = found->value.bytes;
  if (!m->shape->json_values || found->value.type != T_STRING || !text.size) return 1;
  if (*text.data == '"') {
    if (json_whole_text(m->s, text, &found->value.bytes)) return 1;
    found->value.bytes = text;
  } else if (!memchr("-0123456789tfn \t\n\r", *text.data, 18)) {
    return 1;
  }
  return found_python(m, Py_XNewRef(call_with(m, m->s->unwrapped, found)), found);
}

static bool events_in_python(Meaning *m, PyObject **list) {
  *list = PyList_New(0);
  for (size_t i = 0; *list && i < m->event_count; i++) {
    PyObject *event = python_event(m->s, m->events[i]);
    if (!event || PyList_Append(*list, event) < 0) Py_CLEAR(*list);
    Py_XDECREF(event);
  }
  return *list != NULL;
}

/* The arguments that Python reads a span by: what meaning and Planner.reading take. */
static PyObject *span_in_python(Meaning *m) {
  PyObject *list, *attributes = NULL;
  if (events_in_python(m, &list)) attributes = python_attributes(m->s->attributes, m->own, m->s->limit);
  if (!attributes) {
    Py_XDECREF(list);
    return NULL;
  }
  return Py_BuildValue("(Os#s#s#NNK)", m->scope, (const char *)m->name.data, (Py_ssize_t)m->name.size,
                       (const char *)m->status.data, (Py_ssize_t)m->status.size, (const char *)m->message.data,
                       (Py_ssize_t)m->message.size, attributes, list, (unsigned long long)m->start);
}

/* The span as Python reads it. */
static PyObject *reading_of(Meaning *m) {
  if (m->reading) return m->reading;
  PyObject *given = span_in_python(m), *read = PyObject_GetAttrString(m->shape->planner, "reading");
  PyObject *made = given && read ? PyObject_CallFunctionObjArgs(read, m->type, given, NULL) : NULL;
  Py_XDECREF(given);
  Py_XDECREF(read);
  return m->reading = keep(m, made);
}

static int find_in_python(Meaning *m, const Source *source, Found *found) {
  PyObject *reading = reading_of(m);
  return reading ? found_python(m, PyObject_CallMethod(source->source, "read", "O", reading), found) : -1;
}

static int find_member(Meaning *m, const Source *source, Found *found) {
  Slice json;
  int sure = find_attribute(m, source->places[0], found);
  if (sure <= 0) return sure;
  if (found->value.type != T_STRING) return find_in_python(m, source, found);
  sure = paths_find(found->value.bytes, source->paths, source->path_count, &json);
  if (sure < 0) return find_in_python(m, source, found);
  if (!sure) return 0;
  long long count;
  *found = (Found){.json = json};
  if (*json.data == '"') {
    *found = (Found){.value = {.type = T_STRING}};
    return json_whole_text(m->s, json, &found->value.bytes) ? 1 : -1;
  }
  if (*json.data == 't' || *json.data == 'f')
    *found = (Found){.value = {.type = T_BOOL, .bits = *json.data == 't'}};
  else if (member_count(json, &count))
    *found = (Found){.value = {.type = T_INT, .bits = (uint64_t)count}};
  return 1;
}

/* An attribute of an event, the last of that name that has it. */
static int find_event(Meaning *m, const Source *source, Found *found) {
  Scanner *s = m->s;
  long long counted = s->duplicates;
  int result = 0;
  for (size_t i = m->event_count; !result && i--;) {
    Event event;
    if (!read_event(s, m->events[i], &event)) result = -1;
    bool named = same_text(event.name, source->texts[0]);
    for (size_t k = m->own; !result && named && k < s->held; k++) {
      Slice key = s->attributes[k].key->text;
      if (!same_text(key, source->texts[1])) continue;
      *found = (Found){.value = s->attributes[k].value};
      result = found->value.type != T_NULL;
    }
    s->held = m->own;
  }
  s->duplicates = counted;
  return result;
}

/* The value of the one member that a wrapper has, else the whole. */
static int find_sole(Meaning *m, const Source *source, Found *found) {
  int sure = find_attribute(m, source->places[0], found);
  if (sure <= 0) return sure;
  Slice text = found->value.bytes, key, value;
  if (found->value.type != T_STRING) return find_in_python(m, source, found);
  if (!text.size || (*text.data != '{' && *text.data > ' ' && *text.data < 0x80)) return 1;
  Json j = {text.data, text.data + text.size};
  bool plain;
  if (*text.data != '{') return find_in_python(m, source, found);
  json_take(&j, '{');
  if (json_next(&j) == '}') return 1;
  if (!json_over_text(&j, &key, &plain) || !plain) return find_in_python(m, source, found);
  if (!same_text(key, source->texts[1])) return 1;
  if (!json_take(&j, ':')) return find_in_python(m, source, found);
  json_next(&j);
  value.data = j.at;
  if (!json_walk(&j, NULL, 0, 0, 0)) return find_in_python(m, source, found);
  value.size = (size_t)(j.at - value.data);
  if (!json_take(&j, '}') || json_next(&j) || j.at != j.end || *value.data != '"') return find_in_python(m, source, found);
  return json_whole_text(m->s, value, &found->value.bytes) ? 1 : -1;
}

static int find_name(Meaning *m, const Source *source, Found *found) {
  Slice name = m->name, after = source->texts[0];
  if (after.data) {
    size_t at = 0;
    while (at + after.size <= name.size && memcmp(name.data + at, after.data, after.size)) at++;
    at = at + after.size <= name.size ? at + after.size : name.size;
    name = (Slice){name.data + at, name.size - at};
  }
  *found = (Found){.value = {.type = T_STRING, .bytes = name}};
  return 1;
}

static int find_resource(Meaning *m, const Source *source, Found *found) {
  PyObject *attributes = keep(m, PyObject_GetAttrString(m->scope, "resource_attributes"));
  PyObject *key = keep(m, python_name(source->texts[0]));
  PyObject *value = attributes && key && PyDict_Check(attributes) ? PyDict_GetItemWithError(attributes, key) : NULL;
  return value ? found_python(m, Py_NewRef(value), found) : attributes && key && !PyErr_Occurred() ? 0 : -1;
}

/* The text below a `[HEADER]` line. */
static int find_stripped(Meaning *m, const Source *source, Found *found) {
  int sure = find_attribute(m, source->places[0], found);
  Slice text = found->value.bytes;
  if (sure <= 0 || found->value.type != T_STRING || !text.size || *text.data != '[') return sure;
  const uint8_t *line = memchr(text.data, '\n', text.size), *end = text.data + text.size;
  if (line && line[-1] == ']' && line + 1 < end) found->value.bytes = (Slice){line + 1, (size_t)(end - line - 1)};
  return 1;
}

/* What a source leads to: 1, 0 nothing, -1 not sure. */
static int find(Meaning *m, const Source *source, Found *found) {
  *found = (Found){.value = {.type = T_NULL}};
  switch (source->way) {
    case BY_KEY: return find_attribute(m, source->places[0], found);
    case BY_MEMBER: return find_member(m, source, found);
    case BY_NAME: return find_name(m, source, found);
    case BY_RESOURCE: return find_resource(m, source, found);
    case BY_EVENT: return find_event(m, source, found);
    case BY_STRIP: return find_stripped(m, source, found);
    case BY_SOLE: return find_sole(m, source, found);
    case BY_LITERAL: *found = (Found){.value = {.type = T_STRING, .bytes = source->texts[0]}}; return 1;
    default: return find_in_python(m, source, found);
  }
}

/* The first value that is not empty: of which source, `count` when there is none, -1 not sure. */
static int find_first(Meaning *m, const Planned *field, Found *found) {
  for (int i = 0; i < field->count; i++) {
    int sure = find(m, &field->sources[i], found);
    if (sure < 0) return -1;
    if (sure && (found->value.type != T_STRING || found->value.bytes.size)) return i;
  }
  return field->count;
}

/* ---- fields: each is said, or left to Python; false when the whole span is */

static Said *said_of(Meaning *m, int column) { return &m->said[column - CONVENTION]; }

static bool say_text(Meaning *m, int column, Slice text) {
  *said_of(m, column) = (Said){.is = text.data ? IS_TEXT : IS_NOTHING, .text = text};
  return true;
}

static bool say_object(Meaning *m, int column, PyObject *kept) {
  Slice text;
  if (kept && PyUnicode_CheckExact(kept)) return python_text(kept, &text) && say_text(m, column, text);
  if (kept) *said_of(m, column) = (Said){.is = kept == Py_None ? IS_NOTHING : IS_OBJECT, .object = kept};
  return kept != NULL;
}

static PyObject *ask(Meaning *m, const Planned *field) {
  PyObject *reading = reading_of(m);
  return reading ? keep(m, PyObject_CallFunctionObjArgs(field->ask, reading, NULL)) : NULL;
}

/* values.name */
static bool say_name(Meaning *m, int column, const Planned *field) {
  Found found;
  int at = find_first(m, field, &found);
  if (at < 0) return false;
  if (at == field->count) return true;
  Slice text = found.value.bytes;
  if (found.value.type == T_STRING && text.data[0] > ' ' && text.data[0] < 0x80 && text.data[text.size - 1] > ' ' &&
      text.data[text.size - 1] < 0x80)
    return say_text(m, column, text);
  return say_object(m, column, call_with(m, field->call, &found));
}

/* values.text */
static bool say_words(Meaning *m, int column, const Planned *field) {
  Found found;
  int at = find_first(m, field, &found);
  if (at < 0) return false;
  if (at == field->count) return true;
  Slice text = found.value.bytes, inner;
  if (found.value.type == T_STRING) {
    bool quoted = text.size > 1 && text.data[0] == '"' && text.data[text.size - 1] == '"';
    if (!quoted) return say_text(m, column, text);
    if (json_whole_text(m->s, text, &inner)) return say_text(m, column, inner);
  }
  PyObject *object = found_object(m, &found);
  return object && say_object(m, column, keep(m, PyObject_CallFunctionObjArgs(field->call, object, NULL)));
}


static bool holds(Slice text, size_t within, const char *word) {
  size_t size = strlen(word), end = text.size < within ? text.size : within;
  for (const uint8_t *p = text.data; p && p + size <= text.data + end; p++) {
    p = memchr(p, word[0], (size_t)(text.data + end - p));
    if (!p || p + size > text.data + end) return false;
    if (!memcmp(p, word, size)) return true;
  }
  return false;
}

/* results.read */
static bool say_result(Meaning *m, const Planned *field) {
  Found found;
  int at = find_first(m, field, &found);
  if (at < 0) return false;
  if (at == field->count) return true;
  Slice text = found.value.bytes, inner;
  if (found.value.type == T_STRING && !begins(text, "[{\"text\"") && !begins(text, "[{\"type\":\"text\"") &&
      !begins(text, "[{\"type\": \"text\"") && !(*text.data == '{' && holds(text, MAX_RESULT_HEAD, "\"content\""))) {
    if (text.size < 2 || text.data[0] != '"' || text.data[text.size - 1] != '"') return say_text(m, OUTPUT_TEXT, text);
    if (json_whole_text(m->s, text, &inner)) return say_text(m, OUTPUT_TEXT, inner);
  }
  PyObject *object = found_object(m, &found);
  PyObject *both = object ? keep(m, PyObject_CallFunctionObjArgs(field->call, object, NULL)) : NULL;
  if (!both || !PyTuple_Check(both) || PyTuple_Size(both) != 2) return false;
  m->denied = PyTuple_GetItem(both, 1) == Py_True;
  return say_object(m, OUTPUT_TEXT, PyTuple_GetItem(both, 0));
}

/* The attributes below a prefix as one text, which lasts until the next shape is looked up; data NULL: not texts alone. */
static Slice flat_text(Meaning *m, Slice prefix) {
  Buffer *all = &m->s->shapes->signature;
  all->size = 0;
  for (size_t i = 0; i < m->own; i++) {
    const Attribute *attribute = &m->s->attributes[i];
    Slice key = attribute->key->text;
    if (!begins_with(key, prefix)) continue;
    if (attribute->value.type != T_STRING || attribute->value.bytes.size > MAX_MEMO_BYTES || !sign(all, key) ||
        !sign(all, attribute->value.bytes) || all->size > MAX_MEMO_BYTES)
      return (Slice){NULL, 0};
  }
  return (Slice){all->data, all->size};
}

/* The first source of which Python makes something; NULL not sure. */
static PyObject *call_each(Meaning *m, const Planned *field) {
  for (int i = 0; i < field->count; i++) {
    const Source *source = &field->sources[i];
    bool flat = source->way == BY_FLAT && !m->shape->json_values;
    Slice text = flat ? flat_text(m, source->texts[0]) : (Slice){NULL, 0};
    PyObject *made = text.data ? recall(m, field->call, text, OF_FLAT) : NULL;
    if (!made) {
      Found found;
      int there = find(m, source, &found);
      if (there < 0) return NULL;
      if (!there || (found.value.type == T_STRING && !found.value.bytes.size)) continue;
      made = call_with(m, field->call, &found);
      if (made && text.data) note(m, field->call, text, OF_FLAT, made);
    }
    int useful = made ? PyObject_IsTrue(made) : -1;
    if (useful < 0) return NULL;
    if (useful) return made;
  }
  return Py_None;
}

/* meaning._count; -1: there is none */
static bool say_count(Meaning *m, int column, const Planned *field, int64_t *count) {
  Found found;
  *count = -1;
  int at = find_first(m, field, &found);
  if (at < 0) return false;
  if (at == field->count) return true;
  if (found.value.type == T_INT && (int64_t)found.value.bits >= 0) {
    *count = (int64_t)found.value.bits;
  } else {
    PyObject *asked = ask(m, field);
    if (!asked) return false;
    if (asked == Py_None) return true;
    *count = PyLong_AsLongLong(asked);
    if (*count < 0) return false;
  }
  if (column) *said_of(m, column) = (Said){.is = IS_COUNT, .count = *count};
  return true;
}

/* ---- messages: message_summary.read */

static bool summary_python(PyObject *made, Summary *summary) {
  Slice *texts[] = {&summary->json, &summary->first, &summary->asked, &summary->user, &summary->assistant, &summary->answer};
  if (!made || !PyTuple_Check(made) || PyTuple_Size(made) != 7) return false;
  for (int i = 0; i < 6; i++) {
    PyObject *text = PyTuple_GetItem(made, i);
    if (text != Py_None && !python_text(text, texts[i])) return false;
  }
  summary->reason = PyTuple_GetItem(made, 6);
  return true;
}

static bool read_flat(Meaning *m, Speech *speech, const Source *source, Slice role) {
  Node *root = node_new(&speech->arena, '{');
  for (size_t i = 0; root && i < m->own; i++) {
    const Attribute *attribute = &m->s->attributes[i];
    if (!begins_with(attribute->key->text, source->texts[0])) continue;
    if (attribute->value.type != T_STRING ||
        !flat_add(&speech->arena, root, source->texts[0], attribute->key->text, attribute->value.bytes))
      return false;
  }
  root = flat_list(root);
  return root && read_messages(speech, root, role, 0);
}

static bool read_said(Meaning *m, Speech *speech, const Source *source) {
  Scanner *s = m->s;
  long long counted = s->duplicates;
  bool sure = true;
  static const char *const names[] = {"finish_reason", "id"};
  for (size_t i = 0; sure && i < m->event_count; i++) {
    Event event;
    sure = read_event(s, m->events[i], &event);
    PyObject *name = sure ? python_name(event.name) : NULL;
    PyObject *role = name ? PyDict_GetItemWithError(source->roles, name) : NULL;
    Py_XDECREF(name);
    Slice texts[4] = {{NULL, 0}};
    for (size_t k = m->own; sure && role && k < s->held; k++) {
      const Value *value = &s->attributes[k].value;
      Slice key = s->attributes[k].key->text;
      bool content = same_text(key, source->texts[0]);
      if (content && value->type != T_STRING && value->type != T_NULL) sure = false;
      if (value->type != T_STRING) continue;
      if (content) texts[0] = value->bytes;
      for (int n = 0; n < 2; n++) {
        if (is_text(key, names[n])) texts[2 + n] = value->bytes;
      }
    }
    if (sure && role) sure = python_text(role, &texts[1]) && read_event_texts(speech, texts);
    s->held = m->own;
  }
  s->duplicates = counted;
  return sure;
}

/* One assistant message whose parts lie under keys of their own: text, object, tool_calls, files, reasoning. */
static bool read_answer(Meaning *m, Speech *speech, const Source *source, Slice role) {
  static const char *const names[] = {"content", "content", "tool_calls", "files", "reasoning"};
  Node *root = node_new(&speech->arena, '{');
  bool said = false, more = false;
  if (!root || !add_text_node(&speech->arena, root, slice_of("role"), slice_of("assistant"))) return false;
  for (int i = 0; i < MAX_SOURCE_TEXTS; i++) {
    Found found = {.value = {.type = T_NULL}};
    int there = find_attribute(m, source->places[i], &found);
    if (there < 0 || (there && found.value.type != T_STRING)) return false;
    Slice text = found.value.bytes;
    if (!there || (i < 2 && (!text.size || said))) continue;
    said = said || i < 2;
    if (i == 2 || i == 3) {
      if (begins(text, "[{")) more = true;
      else if (text.size && !is_text(text, "[]")) return false;
    }
    if (!add_text_node(&speech->arena, root, slice_of(names[i]), text)) return false;
  }
  return !(said || more) || read_messages(speech, root, role, 0);
}

/* Read the messages of one source; false: not sure. */
static bool read_source(Meaning *m, Speech *speech, const Source *source, Slice role) {
  Found found;
  if (source->way == BY_FLAT) return read_flat(m, speech, source, role);
  if (source->way == BY_EVENTS) return read_said(m, speech, source);
  if (source->way == BY_ANSWER) return read_answer(m, speech, source, role);
  int there;
  if (source->way == BY_CHOICES || source->way == BY_OBJECT) there = find_attribute(m, source->places[0], &found);
  else there = find(m, source, &found);
  if (there <= 0) return !there;
  if (found.value.type != T_STRING) return false;
  Slice text = found.value.bytes;
  if (source->way == BY_CHOICES) return read_choices(speech, text, role, source->wanted);
  if (source->way == BY_OBJECT && (!text.size || *text.data != '{')) return text.size && *text.data > ' ' && *text.data < 0x80;
  return read_text(speech, text, role);
}

/* 1 there are messages, 0 there are none, -1 not sure. */
static int read_field(Meaning *m, const Planned *field, Speech *speech, const char *role, Summary *summary) {
  *summary = (Summary){.reason = Py_None};
  for (int i = 0; i < field->count; i++) {
    speech_begin(speech, m->s->finish_reason);
    bool sure = read_source(m, speech, &field->sources[i], slice_of(role)) && (!speech->messages || speech_close(speech));
    if (!sure || PyErr_Occurred()) {
      PyErr_Clear();
      PyObject *asked = ask(m, field);
      return asked == Py_None ? 0 : summary_python(asked, summary) ? 1 : -1;
    }
    if (!speech->messages) continue;
    *summary = (Summary){
        {speech->out.data, speech->out.size}, speech->first, speech->asked, speech->user, speech->assistant,
        {speech->assistant.data ? speech->said.data : NULL, speech->said.size}, speech->reason ? speech->reason : Py_None};
    return 1;
  }
  return 0;
}

static Slice either_text(Slice first, Slice second) { return first.data && first.size ? first : second; }

/* Both as one list: MessageSummary.after. */
static bool summary_after(Meaning *m, Summary *asked, const Summary *system) {
  Buffer *joined = &m->s->joined;
  joined->size = 0;
  if (joined->room > LARGE) buffer_free(joined);
  if (!buffer_add(joined, system->json.data, system->json.size - 1) || !buffer_byte(joined, ',') ||
      !buffer_add(joined, asked->json.data + 1, asked->json.size - 1))
    return false;
  asked->json = (Slice){joined->data, joined->size};
  asked->first = system->first;
  asked->asked = either_text(asked->asked, system->asked);
  asked->user = either_text(asked->user, system->user);
  asked->assistant = either_text(asked->assistant, system->assistant);
  return true;
}

/* Messages, and the texts of a span that has some or has none. */
static bool say_messages(Meaning *m) {
  const Planned *fields = m->plan->fields;
  Summary system, asked, answered;
  Speech *speech = m->s->speech;
  int there = read_field(m, &fields[F_ASKED], &speech[1], "user", &asked);
  int first = read_field(m, &fields[F_SYSTEM], &speech[0], "system", &system);
  int said = read_field(m, &fields[F_ANSWERED], &speech[2], "assistant", &answered);
  if (there < 0 || first < 0 || said < 0) return false;
  if (first && !there) asked = system;
  if (first && there && !is_text(asked.first, "system") && !summary_after(m, &asked, &system)) return false;
  there = there || first;
  if (there) say_text(m, INPUT_MESSAGES, asked.json);
  if (said) say_text(m, OUTPUT_MESSAGES, answered.json);
  Found found;
  int at = find_first(m, &fields[F_OUTPUT_TYPE], &found);
  if (at < 0) return false;
  if (at < fields[F_OUTPUT_TYPE].count && !(found.value.type == T_STRING && (is_text(found.value.bytes, "text") ||
                                                                            is_text(found.value.bytes, "json"))))
    return false; /* perhaps it made an image, or speech */
  at = find_first(m, &fields[F_REASON], &found);
  if (at < 0) return false;
  PyObject *reason = at < fields[F_REASON].count ? call_with(m, m->s->finish_reason, &found) : Py_None;
  if (!reason) return false;
  if (reason == Py_None && said) reason = keep(m, Py_NewRef(answered.reason));
  if (!say_object(m, FINISH_REASON, reason)) return false;
  if (m->plan->flags & IS_TOOL) return say_words(m, INPUT_TEXT, &fields[F_INPUT]) && say_result(m, &fields[F_OUTPUT]);
  bool llm = m->plan->flags & IS_LLM;
  if ((!llm || !there) && !say_words(m, INPUT_TEXT, &fields[F_INPUT])) return false;
  if ((!llm || !said) && !say_words(m, OUTPUT_TEXT, &fields[F_OUTPUT])) return false;
  bool no_words = !said_of(m, INPUT_TEXT)->text.size, no_answer = !said_of(m, OUTPUT_TEXT)->text.size;
  if (there && no_words) say_text(m, INPUT_TEXT, llm ? either_text(asked.asked, asked.assistant) : asked.user);
  if (said && no_answer) say_text(m, OUTPUT_TEXT, answered.answer);
  return true;
}

/* ---- usage and cost: meaning._usage */

static PyObject *python_count(int64_t count) { return count < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(count); }

static PyObject *python_said(const Said *said) {
  return said->is == IS_TEXT ? python_name(said->text) : Py_NewRef(said->is == IS_OBJECT ? said->object : Py_None);
}

static bool say_amount(Meaning *m, double amount, bool estimated) {
  *said_of(m, COST) = (Said){.is = IS_AMOUNT, .amount = amount};
  *said_of(m, COST_ESTIMATED) = (Said){.is = IS_OBJECT, .object = estimated ? Py_True : Py_False};
  return true;
}

/* The cost as sent: 1, 0 there is none, -1 not sure. */
static int say_sent(Meaning *m) {
  const Planned *cost = &m->plan->fields[F_COST], *parts = &m->plan->fields[F_COST_PARTS];
  Found found;
  int at = find_first(m, cost, &found);
  if (at < 0) return -1;
  if (at < cost->count && (found.value.type == T_DOUBLE || found.value.type == T_INT)) {
    double amount = found.value.type == T_INT ? (double)(int64_t)found.value.bits : double_of(found.value.bits);
    if (amount >= 0 && amount < 1e18) return say_amount(m, amount, false);
  }
  if (at == cost->count) {
    at = find_first(m, parts, &found);
    if (at < 0) return -1;
    if (at == parts->count) return 0;
  }
  PyObject *asked = ask(m, cost->ask ? cost : parts);
  if (!asked || asked == Py_None) return asked ? 0 : -1;
  double amount = PyFloat_AsDouble(asked);
  return amount == -1 && PyErr_Occurred() ? -1 : say_amount(m, amount, false);
}

static bool say_usage(Meaning *m) {
  const Planned *fields = m->plan->fields;
  int64_t most, whole, output, cached, written, reasoning;
  if (!say_count(m, MAX_OUTPUT_TOKENS, &fields[F_MAX_OUTPUT], &most) || !say_count(m, INPUT_TOKENS, &fields[F_READ], &whole) ||
      !say_count(m, OUTPUT_TOKENS, &fields[F_WRITTEN], &output) || !say_count(m, CACHED_TOKENS, &fields[F_CACHED], &cached) ||
      !say_count(m, 0, &fields[F_CACHE_WRITTEN], &written) ||
      !say_count(m, REASONING_TOKENS, &fields[F_REASONING], &reasoning))
    return false;
  bool apart = m->plan->flags & COUNTS_APART;
  if (!apart && fields[F_BESIDE].count) {
    Found found;
    int at = find_first(m, &fields[F_BESIDE], &found);
    PyObject *asked = at >= 0 && at < fields[F_BESIDE].count ? ask(m, &fields[F_BESIDE]) : Py_False;
    if (at < 0 || !asked) return false;
    apart = asked == Py_True;
  }
  if (whole >= 0 && (apart || cached > whole)) {
    whole = (int64_t)((uint64_t)whole + (uint64_t)(cached > 0 ? cached : 0));
    if (whole < 0) return false;
    whole = (int64_t)((uint64_t)whole + (uint64_t)(written > 0 ? written : 0));
    if (whole < 0) return false;
    said_of(m, INPUT_TOKENS)->count = whole;
  }
  int sent = say_sent(m);
  if (sent || !(m->plan->flags & IS_PRICED)) return sent >= 0;
  if (said_of(m, MODEL)->is == IS_NOTHING || (whole < 0 && output < 0)) return true;
  PyObject *cost = keep(m, PyObject_CallFunction(m->s->estimate, "NNKNNNN", python_said(said_of(m, MODEL)),
                                                 python_said(said_of(m, PROVIDER)), (unsigned long long)m->start,
                                                 python_count(whole), python_count(output), python_count(cached),
                                                 python_count(written)));
  if (!cost || cost == Py_None) return cost != NULL;
  double amount = PyFloat_AsDouble(cost);
  return !(amount == -1 && PyErr_Occurred()) && say_amount(m, amount, true);
}

/* ---- failures: errors.of */

/* Whether a span may have failed: 1, 0, -1 not sure. */
static int may_have_failed(Meaning *m) {
  bool ok = is_text(m->status, "OK");
  if (is_text(m->status, "ERROR") || m->denied) return 1;
  for (size_t i = 0; i < m->own; i++) {
    const Attribute *attribute = &m->s->attributes[i];
    if (attribute->key->flags & K_ERROR && attribute->value.type != T_NULL) return 1;
  }
  if (m->event_count && (!ok || m->plan->flags & EXCEPTION_FAILS)) {
    long long counted = m->s->duplicates;
    bool exception = false, sure = true;
    for (size_t i = 0; i < m->event_count; i++) {
      Event event;
      sure = sure && read_event(m->s, m->events[i], &event);
      exception = exception || (sure && is_text(event.name, "exception"));
      m->s->held = m->own;
    }
    m->s->duplicates = counted;
    if (exception || !sure) return sure ? 1 : -1;
  }
  const Planned *failures = &m->plan->fields[F_FAILURES];
  for (int i = 0; i < failures->count; i++) {
    Found found;
    int there = find(m, &failures->sources[i], &found);
    if (there < 0) return -1;
    PyObject *failed = there ? call_with(m, failures->sources[i].source, &found) : Py_False;
    if (failed != Py_False) return failed ? 1 : -1;
  }
  return 0;
}

static bool say_failure(Meaning *m) {
  static const int columns[MAX_FIELDS_OF_SAID] = {ERROR_TYPE, ERROR_MESSAGE, ERROR_SIGNATURE};
  int failed = may_have_failed(m);
  if (failed <= 0) return !failed;
  PyObject *reading = reading_of(m), *output = reading ? keep(m, python_said(said_of(m, OUTPUT_TEXT))) : NULL;
  if (!output) return false;
  PyObject *all = keep(m, PyObject_CallFunctionObjArgs(m->plan->fields[F_FAILURES].ask, reading, output,
                                                       m->denied ? Py_True : Py_False, NULL));
  if (!all || !PyTuple_Check(all) || PyTuple_Size(all) != MAX_FIELDS_OF_SAID) return false;
  for (int i = 0; i < MAX_FIELDS_OF_SAID; i++) say_object(m, columns[i], PyTuple_GetItem(all, i));
  return true;
}

/* ---- the whole */

/* meaning.span_type: borrowed; NULL not sure. */
static PyObject *type_of(Meaning *m) {
  const SpanShape *shape = m->shape;
  for (int i = 0; i < shape->type_count; i++) {
    const TypeWay *way = &shape->types[i];
    Found found = {.value = {.type = T_STRING, .bytes = m->name}};
    if (way->prefix.data) {
      if (begins_with(m->name, way->prefix)) return way->values;
      continue;
    }
    int there = way->place == NOWHERE ? 1 : find_attribute(m, way->place, &found);
    if (there < 0) return NULL;
    if (!there || found.value.type != T_STRING) continue;
    uint8_t upper[64];
    Slice text = found.value.bytes;
    if (way->upper) {
      if (text.size > sizeof upper) return NULL;
      for (size_t k = 0; k < text.size; k++) {
        uint8_t c = text.data[k];
        if (c >= 0x80) return NULL;
        upper[k] = c >= 'a' && c <= 'z' ? c - 32 : c;
      }
      text.data = upper;
    }
    PyObject *name = python_name(text);
    PyObject *type = name ? PyDict_GetItemWithError(way->values, name) : NULL;
    Py_XDECREF(name);
    if (type) return type;
    if (PyErr_Occurred()) return NULL;
  }
  return shape->otherwise;
}

static bool say_all(Meaning *m) {
  const Planned *fields = m->plan->fields;
  static const int names[][2] = {{MODEL, F_MODEL}, {AGENT_NAME, F_AGENT}, {SESSION_ID, F_SESSION}, {USER_ID, F_USER},
                                 {TOOL_NAME, F_TOOL}, {TOOL_CALL_ID, F_CALL}};
  if (!say_object(m, CONVENTION, m->shape->convention) || !say_object(m, SPAN_TYPE, m->type)) return false;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (fields[names[i][1]].count && !say_name(m, names[i][0], &fields[names[i][1]])) return false;
  }
  if (!say_object(m, PROVIDER, call_each(m, &fields[F_PROVIDER])) || !say_messages(m)) return false;
  PyObject *offered = call_each(m, &fields[F_TOOLS]);
  if (!offered) return false;
  if (offered != Py_None) {
    if (!PyTuple_Check(offered) || PyTuple_Size(offered) != 2) return false;
    say_object(m, TOOLS_OFFERED, PyTuple_GetItem(offered, 0));
    say_object(m, TOOL_DEFINITIONS, PyTuple_GetItem(offered, 1));
  }
  return say_usage(m) && say_failure(m);
}

/* Say what a span means by the plan for its shape; false: Python must. */
static bool mean(Meaning *m, Slice scope_name, Slice service, const Slice *event_names, size_t event_names_count) {
  arena_empty(&m->s->texts);
  m->shape = shape_find(m->s, m->own, m->scope, scope_name, service, event_names, event_names_count);
  if (!m->shape || !m->shape->planner) return false;
  m->type = type_of(m);
  m->plan = m->type ? plan_find(m->s, m->own, m->shape, m->type) : NULL;
  bool done = m->plan && say_all(m);
  if (!done) PyErr_Clear();
  return done;
}

#endif
