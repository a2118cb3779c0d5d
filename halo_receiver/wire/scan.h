/* Export requests → the columns of span_rows.
 *
 * A request is taken whole or not at all: whatever needs repair, counting or rejecting, and whatever is merely unusual,
 * makes `add` answer False, and the reference decoder reads that request instead. So this file needs to be right about
 * ordinary requests only, and the differential tests say that it is.
 */
#ifndef HALO_SCAN_H
#define HALO_SCAN_H

#include "meaning.h"

static bool write_link(Scanner *s, Slice message) {
  Reader r = reader_of(message);
  Field f;
  int got;
  Slice trace = {0}, span = {0}, state = {0};
  uint32_t flags = 0, dropped = 0;
  size_t before = s->held;
  uint8_t id[32];
  if (!take_attributes_of(s, message, 4)) return false;
  while ((got = next_field(&r, &f)) > 0) {
    switch (f.number) {
      case 1: case 2: case 3:
        if (f.wire != 2) return false;
        *(f.number == 1 ? &trace : f.number == 2 ? &span : &state) = f.bytes;
        break;
      case 5:
        if (f.wire != 0) return false;
        dropped = (uint32_t)f.value;
        break;
      case 6:
        if (f.wire != 5) return false;
        flags = (uint32_t)f.value;
        break;
    }
  }
  if (got < 0 || trace.size != 16 || span.size != 8 || !short_text(s, state)) return false;
  hex_id(id, trace.data, 16);
  if (!column_text(&s->links[L_TRACE_ID], id, 32)) return false;
  hex_id(id, span.data, 8);
  Buffer *json = &s->links[L_ATTRIBUTES].data;
  bool done = column_text(&s->links[L_SPAN_ID], id, 16) &&
              column_text_or_null(&s->links[L_TRACE_STATE], state.data, state.size) &&
              column_u32(&s->links[L_FLAGS], flags) &&
              json_attributes(json, s->attributes + before, s->held - before, s->limit) &&
              column_end(&s->links[L_ATTRIBUTES]) && column_u32(&s->links[L_DROPPED], dropped);
  s->held = before;
  return done;
}

/* Short values into the two lists, long ones into one JSON object; as columns._attributes does. */
static bool write_attributes(Scanner *s, size_t count) {
  Buffer *values = &s->values.data, *large = &s->columns[LONG].data;
  size_t start = large->size;
  for (size_t i = 0; i < count; i++) {
    const Attribute *attribute = &s->attributes[i];
    const Value *value = &attribute->value;
    Slice name = attribute->key->json;
    size_t before = values->size;
    bool surely_long = value->type == T_STRING && value->bytes.size > 4 * LONG_VALUE;
    if (!surely_long) {
      int64_t characters = json_value(values, value, s->limit, 0);
      if (characters < 0) return false;
      if (characters <= LONG_VALUE) {
        if (!column_end(&s->values)) return false;
        if (!column_text(&s->keys, attribute->key->text.data, attribute->key->text.size)) return false;
        continue;
      }
    }
    if (!buffer_byte(large, large->size == start ? '{' : ',') || !buffer_add(large, name.data, name.size) ||
        !buffer_byte(large, ':'))
      return false;
    if (surely_long) {
      if (json_string(large, value->bytes.data, value->bytes.size) < 0) return false;
    } else {
      if (!buffer_add(large, values->data + before, values->size - before)) return false;
      values->size = before;
    }
  }
  if (!column_list(&s->columns[KEYS], s->keys.rows, true) || !column_list(&s->columns[VALUES], s->values.rows, true))
    return false;
  if (large->size == start) return column_no_text(&s->columns[LONG]);
  return buffer_byte(large, '}') && column_end(&s->columns[LONG]);
}

/* Append names of tools; None: no list. */
static bool append_list(Scanner *s, Column *column, PyObject *value) {
  Py_ssize_t count = value != Py_None ? PyList_Size(value) : 0;
  if (count < 0) return false;
  for (Py_ssize_t i = 0; i < count; i++) {
    Slice text;
    if (!python_text(PyList_GetItem(value, i), &text) || !column_text(&s->offered, text.data, text.size)) return false;
  }
  return column_list(column, s->offered.rows, value != Py_None);
}

/* Append what a span was found to mean. */
static bool append_meant(Scanner *s, const Said *all) {
  for (int at = CONVENTION; at < COLUMNS; at++) {
    Column *column = &s->columns[at];
    const Said *said = &all[at - CONVENTION];
    bool there = said->is != IS_NOTHING, done = false;
    switch (LAYOUT[at].kind) {
      case 's': done = there ? column_text(column, said->text.data, said->text.size) : column_no_text(column); break;
      case 'i': done = column_i64(column, said->count, there); break;
      case 'f': done = column_f64(column, said->amount, there); break;
      case 'b': done = column_bool(column, said->object == Py_True, there); break;
      default: done = append_list(s, column, there ? said->object : Py_None);
    }
    if (!done) return false;
  }
  return true;
}

/* Append what Python says of a span: one value for each column from CONVENTION on. */
static bool append_said(Scanner *s, PyObject *said) {
  if (!PyTuple_Check(said) || PyTuple_Size(said) != COLUMNS - CONVENTION) {
    PyErr_SetString(PyExc_TypeError, "meaning must return a tuple, one value for each column");
    return false;
  }
  for (int at = CONVENTION; at < COLUMNS; at++) {
    PyObject *value = PyTuple_GetItem(said, at - CONVENTION);
    Column *column = &s->columns[at];
    bool there = value != Py_None, done = false;
    if (LAYOUT[at].kind == 's') {
      Py_ssize_t size = 0;
      const char *text = there ? PyUnicode_AsUTF8AndSize(value, &size) : NULL;
      if (there && !text) return false;
      done = there ? column_text(column, text, (size_t)size) : column_no_text(column);
    } else if (LAYOUT[at].kind == 'i') {
      long long number = there ? PyLong_AsLongLong(value) : 0;
      if (number == -1 && PyErr_Occurred()) return false;
      done = column_i64(column, number, there);
    } else if (LAYOUT[at].kind == 'f') {
      double number = there ? PyFloat_AsDouble(value) : 0;
      if (number == -1 && PyErr_Occurred()) return false;
      done = column_f64(column, number, there);
    } else if (LAYOUT[at].kind == 'b') {
      done = column_bool(column, value == Py_True, there);
    } else {
      done = append_list(s, column, value);
    }
    if (!done) return false;
  }
  return true;
}

static bool append_nothing(Scanner *s) {
  for (int at = CONVENTION; at < COLUMNS; at++) {
    Column *column = &s->columns[at];
    bool done = false;
    switch (LAYOUT[at].kind) {
      case 's': done = column_no_text(column); break;
      case 'i': done = column_i64(column, 0, false); break;
      case 'f': done = column_f64(column, 0, false); break;
      case 'b': done = column_bool(column, false, false); break;
      default: done = column_list(column, s->offered.rows, false);
    }
    if (!done) return false;
  }
  return true;
}

/* The bytes of the last row. */
static Slice column_last(const Column *c) {
  int32_t start;
  memcpy(&start, c->ends.data + c->ends.size - 8, 4);
  return (Slice){c->data.data + start, c->data.size - (size_t)start};
}

/* Make the last row NULL. */
static void column_take_back(Column *c) {
  int32_t start;
  memcpy(&start, c->ends.data + c->ends.size - 8, 4);
  memcpy(c->ends.data + c->ends.size - 4, &start, 4);
  c->data.size = (size_t)start;
  c->valid.data[c->valid.size - 1] = 0;
  c->nulls++;
}

/* The texts of the row that was just written go into one column; as text_folding.fold does. */
static bool fold_texts(Scanner *s) {
  static const int folded[] = {LONG, TOOL_DEFINITIONS, INPUT_MESSAGES, OUTPUT_MESSAGES, INPUT_TEXT, OUTPUT_TEXT};
  enum { FOLDED = sizeof folded / sizeof *folded };
  Column *texts = &s->columns[TEXTS];
  size_t total = 0;
  for (int i = 0; i < FOLDED; i++) total += column_last(&s->columns[folded[i]]).size;
  if (!total || total > MAX_FOLDED_BYTES) return column_no_text(texts);
  for (int i = 0; i < FOLDED; i++) {
    Column *column = &s->columns[folded[i]];
    Slice text = column_last(column);
    if (i && !buffer_byte(&texts->data, SEPARATOR)) return false;
    if (!text.size || memchr(text.data, SEPARATOR, text.size)) continue;
    if (!buffer_add(&texts->data, text.data, text.size)) return false;
    column_take_back(column);
  }
  return column_end(texts);
}

#define MAX_EVENTS 1024

static bool scan_span(Scanner *s, Slice message, const Group *g, int64_t arrival) {
  static const Slice kinds[6] = {{(const uint8_t *)"UNSPECIFIED", 11}, {(const uint8_t *)"INTERNAL", 8},
                                 {(const uint8_t *)"SERVER", 6},       {(const uint8_t *)"CLIENT", 6},
                                 {(const uint8_t *)"PRODUCER", 8},     {(const uint8_t *)"CONSUMER", 8}};
  static const Slice codes[3] = {{(const uint8_t *)"UNSET", 5}, {(const uint8_t *)"OK", 2}, {(const uint8_t *)"ERROR", 5}};
  Slice trace = {0}, span = {0}, parent = {0}, state = {0}, status = {0};
  Slice name = {(const uint8_t *)"", 0}, said = name;
  uint64_t start = 0, end = 0, kind = 0, code = 0;
  uint32_t flags = 0, dropped[3] = {0, 0, 0};
  Slice events[MAX_EVENTS], named[MAX_EVENTS];
  size_t event_count = 0, names = 0;
  bool has_status = false;
  Column *c = s->columns;
  Reader r = reader_of(message);
  Field f;
  int got;
  s->held = 0;
  s->known.group++;
  while ((got = next_field(&r, &f)) > 0) {
    if (f.number < 20 && SHAPES[M_SPAN][f.number].wire && SHAPES[M_SPAN][f.number].wire != f.wire + 1) return false;
    switch (f.number) {
      case 1: trace = f.bytes; break;
      case 2: span = f.bytes; break;
      case 3: state = f.bytes; break;
      case 4: parent = f.bytes; break;
      case 5: name = f.bytes; break;
      case 6: kind = f.value; break;
      case 7: start = f.value; break;
      case 8: end = f.value; break;
      case 9:
        if (!take_attribute(s, f.bytes)) return false;
        break;
      case 10: dropped[0] = (uint32_t)f.value; break;
      case 11:
        if (event_count == MAX_EVENTS) return false;
        events[event_count++] = f.bytes;
        break;
      case 12: dropped[1] = (uint32_t)f.value; break;
      case 13: break; /* links: below */
      case 14: dropped[2] = (uint32_t)f.value; break;
      case 15:
        if (has_status) return false;
        has_status = true;
        status = f.bytes;
        break;
      case 16: flags = (uint32_t)f.value; break;
    }
  }
  if (got < 0 || trace.size != 16 || span.size != 8 || all_zero(trace) || all_zero(span) || kind > 5) return false;
  if (parent.size && parent.size != 8) return false;
  if (start > INT64_MAX || end > INT64_MAX || (end && end < start)) return false;
  Reader inner = reader_of(status);
  while ((got = next_field(&inner, &f)) > 0) {
    if ((f.number == 2 && f.wire != 2) || (f.number == 3 && f.wire != 0)) return false;
    if (f.number == 2) said = f.bytes;
    if (f.number == 3) code = f.value;
  }
  if (got < 0 || code > 2 || !short_text(s, name) || !short_text(s, state) || !short_text(s, said)) return false;

  uint8_t id[32];
  hex_id(id, trace.data, 16);
  if (!column_text(&c[TRACE_ID], id, 32)) return false;
  hex_id(id, span.data, 8);
  if (!column_text(&c[SPAN_ID], id, 16)) return false;
  if (parent.size && !all_zero(parent)) {
    hex_id(id, parent.data, 8);
    if (!column_text(&c[PARENT], id, 16)) return false;
  } else if (!column_no_text(&c[PARENT])) {
    return false;
  }
  int64_t received = s->span_time && (end || start) ? (int64_t)(end ? end : start) : arrival;
  if (!column_text_or_null(&c[TRACE_STATE], state.data, state.size) || !column_u32(&c[FLAGS], flags) ||
      !column_text(&c[NAME], name.data, name.size) || !column_text(&c[KIND], kinds[kind].data, kinds[kind].size) ||
      !column_i64(&c[START], (int64_t)start, start != 0) || !column_i64(&c[END], (int64_t)end, end != 0) ||
      !column_i64(&c[DURATION], start && end ? (int64_t)(end - start) : 0, start && end) ||
      !column_text(&c[STATUS_CODE], codes[code].data, codes[code].size) ||
      !column_text_or_null(&c[STATUS_MESSAGE], said.data, said.size) ||
      !column_text(&c[SERVICE], g->service.data, g->service.size) ||
      !column_text_or_null(&c[SCOPE_NAME], g->scope_name.data, g->scope_name.size) ||
      !column_text_or_null(&c[SCOPE_VERSION], g->scope_version.data, g->scope_version.size) ||
      !column_text(&c[RESOURCE], s->resource.data, s->resource.size) ||
      !column_text(&c[SCOPE], s->scope.data, s->scope.size) || !column_u32(&c[DROPPED_ATTRIBUTES], dropped[0]) ||
      !column_u32(&c[DROPPED_EVENTS], dropped[1]) || !column_u32(&c[DROPPED_LINKS], dropped[2]) ||
      !column_text_or_null(&c[RESOURCE_SCHEMA], g->resource_schema.data, g->resource_schema.size) ||
      !column_text_or_null(&c[SCOPE_SCHEMA], g->scope_schema.data, g->scope_schema.size) ||
      !column_u32(&c[RESOURCE_DROPPED], g->resource_dropped) || !column_u32(&c[SCOPE_DROPPED], g->scope_dropped) ||
      !column_i64(&c[RECEIVED], received, true))
    return false;

  size_t own = s->held;
  bool asked = g->spoken_for || code == 2 || (event_count && code == 0); /* else no convention and no failure */
  for (size_t i = 0; i < own; i++) asked = asked || s->attributes[i].key->flags;
  if (!write_attributes(s, own)) return false;
  Buffer *json = &c[EVENTS].data;
  for (size_t i = 0; i < event_count; i++) {
    if (!buffer_byte(json, i ? ',' : '[') || !write_event(s, events[i], json, &named[names])) return false;
    if (!names || !same_text(named[names], named[names - 1])) names++;
  }
  if (!(event_count ? buffer_byte(json, ']') && column_end(&c[EVENTS]) : column_no_text(&c[EVENTS]))) return false;
  r = reader_of(message);
  while (next_field(&r, &f) > 0) {
    if (f.number == 13 && !write_link(s, f.bytes)) return false;
  }
  if (!column_list(&c[LINKS], s->links[L_TRACE_ID].rows, true)) return false;
  if (!asked) return append_nothing(s) && fold_texts(s);

  Meaning m = {.s = s, .scope = g->scope, .name = name, .status = codes[code], .message = said, .events = events,
               .event_count = event_count, .own = own, .start = start};
  bool done;
  if (mean(&m, g->scope_name, g->service, named, names)) {
    done = append_meant(s, m.said) && fold_texts(s);
  } else {
    PyObject *given = span_in_python(&m), *words = given ? PyObject_CallObject(s->meaning, given) : NULL;
    done = words && append_said(s, words) && fold_texts(s);
    Py_XDECREF(given);
    Py_XDECREF(words);
  }
  Py_XDECREF(m.kept);
  return done;
}

static bool scan_scope_group(Scanner *s, Slice message, Group *g, PyObject *resource, int64_t arrival) {
  Reader r = reader_of(message);
  Field f;
  int got, scopes = 0;
  Slice scope = {0};
  g->scope_schema = g->scope_name = g->scope_version = (Slice){(const uint8_t *)"", 0};
  g->scope_dropped = 0;
  while ((got = next_field(&r, &f)) > 0) {
    if (f.number <= 3 && f.wire != 2) return false;
    if (f.number == 1) {
      if (scopes++) return false;
      scope = f.bytes;
    } else if (f.number == 3) {
      g->scope_schema = f.bytes;
    }
  }
  if (got < 0 || !short_text(s, g->scope_schema)) return false;
  s->held = 0;
  if (!take_attributes_of(s, scope, 3)) return false;
  r = reader_of(scope);
  while ((got = next_field(&r, &f)) > 0) {
    if (f.number == 1 || f.number == 2) {
      if (f.wire != 2) return false;
      *(f.number == 1 ? &g->scope_name : &g->scope_version) = f.bytes;
    } else if (f.number == 4) {
      if (f.wire != 0) return false;
      g->scope_dropped = (uint32_t)f.value;
    }
  }
  if (got < 0 || !short_text(s, g->scope_name) || !short_text(s, g->scope_version)) return false;
  s->scope.size = 0;
  if (!json_attributes(&s->scope, s->attributes, s->held, s->limit)) return false;
  PyObject *known = PyObject_CallFunction(s->group, "Os#", resource, (const char *)g->scope_name.data,
                                          (Py_ssize_t)g->scope_name.size);
  if (!known) return false;
  int spoken = PyTuple_Check(known) && PyTuple_Size(known) == 2 ? PyObject_IsTrue(PyTuple_GetItem(known, 1)) : -1;
  if (spoken < 0) {
    Py_DECREF(known);
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "group must return (scope, spoken for)");
    return false;
  }
  g->scope = PyTuple_GetItem(known, 0);
  g->spoken_for = spoken;
  bool done = true;
  r = reader_of(message);
  while (done && next_field(&r, &f) > 0) {
    if (f.number == 2) done = scan_span(s, f.bytes, g, arrival);
  }
  Py_DECREF(known);
  return done;
}

static bool scan_resource_group(Scanner *s, Slice message, int64_t arrival) {
  Group g = {0};
  Reader r = reader_of(message);
  Field f;
  int got, resources = 0;
  Slice resource = {0};
  g.resource_schema = g.service = (Slice){(const uint8_t *)"", 0};
  while ((got = next_field(&r, &f)) > 0) {
    if (f.number <= 3 && f.wire != 2) return false;
    if (f.number == 1) {
      if (resources++) return false;
      resource = f.bytes;
    } else if (f.number == 3) {
      g.resource_schema = f.bytes;
    }
  }
  if (got < 0 || !short_text(s, g.resource_schema) || !message_holds(&s->walk, resource, M_RESOURCE, 0)) return false;
  s->held = 0;
  if (!take_attributes_of(s, resource, 1)) return false;
  r = reader_of(resource);
  while (next_field(&r, &f) > 0) {
    if (f.number == 2) g.resource_dropped = (uint32_t)f.value;
  }
  for (size_t i = 0; i < s->held; i++) {
    Slice key = s->attributes[i].key->text;
    if (key.size != 12 || memcmp(key.data, "service.name", 12)) continue;
    if (s->attributes[i].value.type == T_STRING) g.service = s->attributes[i].value.bytes;
    else if (s->attributes[i].value.type != T_NULL) return false;
  }
  s->resource.size = 0;
  if (!json_attributes(&s->resource, s->attributes, s->held, s->limit)) return false;
  PyObject *dict = python_attributes(s->attributes, s->held, s->limit);
  if (!dict) return false;
  bool done = true;
  r = reader_of(message);
  while (done && next_field(&r, &f) > 0) {
    if (f.number == 2) done = scan_scope_group(s, f.bytes, &g, dict, arrival);
  }
  Py_DECREF(dict);
  return done;
}

static bool scan_request(Scanner *s, Slice body, int64_t arrival) {
  Reader r = reader_of(body);
  Field f;
  int got;
  while ((got = next_field(&r, &f)) > 0) {
    if (f.number != 1) continue;
    if (f.wire != 2 || !scan_resource_group(s, f.bytes, arrival)) return false;
  }
  return got == 0;
}

#endif
