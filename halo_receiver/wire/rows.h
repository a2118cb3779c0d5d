/* Rows of another store → one export request.
 *
 * The rows are ClickHouse's RowBinary, of the columns that `halo_worker.source.row_binary` names, with attributes as maps
 * of text. Lengths of messages are written in four bytes, so that no message is written twice to learn its length.
 *
 * Source: ClickHouse documentation, RowBinary; opentelemetry/proto/trace/v1/trace.proto.
 */
#ifndef HALO_ROWS_H
#define HALO_ROWS_H

#include "values.h"

#define MAX_ROWS 4096
#define MAX_ROW_BYTES ((uint64_t)1 << 27) /* of a text or a count: more is damage */
#define TYPED_BYTES 1024                  /* of text that may be a list: 256 characters */

enum { R_TRACE, R_SPAN, R_PARENT, R_NAME, R_KIND, R_STATUS, R_TEXTS };

typedef struct {
  int64_t start;
  uint64_t duration;
  Slice texts[R_TEXTS], state, scope, version, message;
  Slice attributes, resource;                  /* maps, with their count before them */
  Slice times, names, said, traces, spans, states, linked; /* arrays, with their count before them */
} Row;

typedef struct {
  Slice resource, scope, version;
  uint32_t hash;
} RowGroup;

/* ---- reading: 1, 0 when the row goes on behind the end, -1 when it is damaged */

static int row_fixed(Reader *r, uint64_t *value) {
  if (r->end - r->at < 8) return 0;
  *value = load8(r->at);
  r->at += 8;
  return 1;
}

static int row_size(Reader *r, uint64_t *size) {
  const uint8_t *start = r->at;
  if (!read_varint(r, size)) return r->end - start < 10 ? 0 : -1;
  return *size > MAX_ROW_BYTES ? -1 : 1;
}

static int row_text(Reader *r, Slice *text) {
  uint64_t size;
  int got = row_size(r, &size);
  if (got <= 0) return got;
  if (size > (uint64_t)(r->end - r->at)) return 0;
  *text = (Slice){r->at, (size_t)size};
  r->at += size;
  return 1;
}

static int row_map(Reader *r, Slice *map) {
  const uint8_t *start = r->at;
  uint64_t count;
  Slice text;
  int got = row_size(r, &count);
  for (count *= 2; got > 0 && count; count--) got = row_text(r, &text);
  *map = (Slice){start, (size_t)(r->at - start)};
  return got;
}

static int row_list(Reader *r, Slice *list, int (*item)(Reader *, Slice *)) {
  const uint8_t *start = r->at;
  uint64_t count;
  Slice one;
  int got = row_size(r, &count);
  for (; got > 0 && count; count--) got = item(r, &one);
  *list = (Slice){start, (size_t)(r->at - start)};
  return got;
}

static int row_time(Reader *r, Slice *time) {
  if (r->end - r->at < 8) return 0;
  *time = (Slice){r->at, 8};
  r->at += 8;
  return 1;
}

static int row_read(Reader *r, Row *row) {
  Slice *texts[] = {&row->state, &row->scope, &row->version, &row->message};
  struct {
    Slice *list;
    int (*item)(Reader *, Slice *);
  } lists[] = {{&row->times, row_time},  {&row->names, row_text},  {&row->said, row_map},  {&row->traces, row_text},
               {&row->spans, row_text}, {&row->states, row_text}, {&row->linked, row_map}};
  uint64_t start = 0;
  int got = row_fixed(r, &start);
  row->start = (int64_t)start;
  for (int i = 0; got > 0 && i < R_TEXTS; i++) got = row_text(r, &row->texts[i]);
  if (got > 0) got = row_fixed(r, &row->duration);
  if (got > 0) got = row_map(r, &row->attributes);
  if (got > 0) got = row_map(r, &row->resource);
  for (int i = 0; got > 0 && i < 4; i++) got = row_text(r, texts[i]);
  for (int i = 0; got > 0 && i < 7; i++) got = row_list(r, lists[i].list, lists[i].item);
  return got;
}

/* ---- writing: false when memory is out, or Python raised */

static size_t message_open(Buffer *b, uint8_t tag) {
  if (!buffer_reserve(b, 5)) return 0;
  b->data[b->size] = tag;
  b->size += 5;
  return b->size;
}

static bool message_close(Buffer *b, size_t start) {
  if (!start || b->size - start >= (size_t)1 << 28) return false;
  size_t size = b->size - start;
  for (int i = 0; i < 4; i++) b->data[start - 4 + i] = (uint8_t)((size >> 7 * i & 0x7F) | (i < 3 ? 0x80 : 0));
  return true;
}

static bool put_bytes(Buffer *b, uint8_t tag, const void *data, size_t size) {
  size_t start = message_open(b, tag);
  return start && buffer_add(b, data, size) && message_close(b, start);
}

/* Write text; what is no UTF-8 with replacements, as ClickHouse's own JSON does. */
static bool put_text(Buffer *b, uint8_t tag, Slice text) {
  if (utf8_valid(text.data, text.size)) return put_bytes(b, tag, text.data, text.size);
  PyObject *string = PyUnicode_DecodeUTF8((const char *)text.data, (Py_ssize_t)text.size, "replace");
  Py_ssize_t size = 0;
  const char *valid = string ? PyUnicode_AsUTF8AndSize(string, &size) : NULL;
  bool done = valid && put_bytes(b, tag, valid, (size_t)size);
  Py_XDECREF(string);
  return done;
}

static bool put_varint(Buffer *b, uint8_t tag, uint64_t value) {
  if (!buffer_byte(b, tag)) return false;
  for (; value > 127; value >>= 7) {
    if (!buffer_byte(b, (uint8_t)(value & 127) | 128)) return false;
  }
  return buffer_byte(b, (uint8_t)value);
}

static bool put_fixed(Buffer *b, uint8_t tag, const void *bits) { return buffer_byte(b, tag) && buffer_add(b, bits, 8); }

static size_t digits(const uint8_t *p, size_t size, size_t at) {
  while (at < size && p[at] >= '0' && p[at] <= '9') at++;
  return at;
}

/* Write a number that prints back to the same text: 1 written, 0 it is none, -1 failed. As otlp_encoding.typed. */
static int put_number(Buffer *b, Slice text) {
  const uint8_t *p = text.data;
  size_t first = p[0] == '-', at = digits(p, text.size, first), whole = at;
  char copy[260];
  if (at == first || (p[first] == '0' ? at > first + 1 : at > first + 19)) return 0;
  if (at == text.size) {
    uint64_t value = 0;
    for (size_t i = first; i < at; i++) value = value * 10 + (uint64_t)(p[i] - '0');
    if ((first && !value) || value > (uint64_t)INT64_MAX + first) return 0;
    return put_varint(b, 0x18, first ? 0 - value : value) ? 1 : -1;
  }
  if (p[at] == '.') {
    size_t fraction = digits(p, text.size, at + 1);
    if (fraction == at + 1) return 0;
    at = fraction;
  }
  if (at < text.size && p[at] == 'e') {
    size_t sign = at + 1 + (at + 1 < text.size && (p[at + 1] == '+' || p[at + 1] == '-'));
    size_t power = digits(p, text.size, sign);
    if (power == sign) return 0;
    at = power;
  }
  if (at != text.size || at == whole || at >= sizeof copy) return 0;
  memcpy(copy, p, at);
  copy[at] = 0;
  double value = PyOS_string_to_double(copy, NULL, NULL);
  if (PyErr_Occurred()) return -1;
  char *said = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
  if (!said) return -1;
  char *power = strstr(said, "e-0");
  if (power) memmove(power + 2, power + 3, strlen(power + 3) + 1);
  int same = !strcmp(said, copy);
  PyMem_Free(said);
  return !same ? 0 : put_fixed(b, 0x21, &value) ? 1 : -1;
}

/* Write a list that prints back to the same text, which Python knows. As put_number. */
static int put_list(Buffer *b, Slice text, PyObject *listed) {
  PyObject *said = PyObject_CallFunction(listed, "s#", (const char *)text.data, (Py_ssize_t)text.size);
  char *bytes;
  Py_ssize_t size;
  int done = !said ? -1 : said == Py_None ? 0 : -1;
  if (said && said != Py_None && !PyBytes_AsStringAndSize(said, &bytes, &size)) {
    done = buffer_add(b, bytes, (size_t)size) ? 1 : -1;
  }
  Py_XDECREF(said);
  return done;
}

/* Write an AnyValue: text typed again where it prints back to the same text. */
static bool put_value(Buffer *b, Slice text, PyObject *listed) {
  uint8_t first = text.size ? text.data[0] : 0;
  int done = 0;
  if ((text.size == 4 && !memcmp(text.data, "true", 4)) || (text.size == 5 && !memcmp(text.data, "false", 5))) {
    return put_varint(b, 0x10, first == 't');
  }
  if (text.size <= 256 && (first == '-' || (first >= '0' && first <= '9'))) done = put_number(b, text);
  if (first == '[' && text.size <= TYPED_BYTES && utf8_valid(text.data, text.size)) done = put_list(b, text, listed);
  return done < 0 ? false : done > 0 || put_text(b, 0x0a, text);
}

static bool put_pairs(Buffer *b, uint8_t tag, Slice map, PyObject *listed) {
  Reader r = reader_of(map);
  uint64_t count;
  if (row_size(&r, &count) <= 0) return false;
  for (; count; count--) {
    Slice key, value;
    if (row_text(&r, &key) <= 0 || row_text(&r, &value) <= 0) return false;
    size_t pair = message_open(b, tag);
    if (!pair || !put_text(b, 0x0a, key)) return false;
    size_t any = message_open(b, 0x12);
    if (!any || !put_value(b, value, listed) || !message_close(b, any) || !message_close(b, pair)) return false;
  }
  return true;
}

static bool unhex(uint8_t *to, Slice text, size_t size) {
  if (text.size != 2 * size) return false;
  for (size_t i = 0; i < text.size; i++) {
    uint8_t c = text.data[i] | 0x20, digit = c >= 'a' ? (uint8_t)(c - 'a' + 10) : (uint8_t)(c - '0');
    if (digit > 15 || (c < 'a' && (text.data[i] < '0' || text.data[i] > '9'))) return false;
    to[i / 2] = (uint8_t)(i % 2 ? to[i / 2] << 4 | digit : digit);
  }
  return true;
}

/* The number of "Client", "SPAN_KIND_CLIENT" or "CLIENT"; 0 for what is not known. */
static uint64_t code_of(Slice text, const char *const *names) {
  for (size_t i = text.size; i; i--) {
    if (text.data[i - 1] != '_') continue;
    text = (Slice){text.data + i, text.size - i};
    break;
  }
  for (uint64_t code = 1; *names; names++, code++) {
    size_t at = 0, size = strlen(*names);
    while (size == text.size && at < size && (uint8_t)(*names)[at] == (text.data[at] & ~0x20)) at++;
    if (size == text.size && at == size) return code;
  }
  return 0;
}

static uint64_t list_begin(Reader *r, Slice list) {
  uint64_t count = 0;
  *r = reader_of(list);
  (void)row_size(r, &count);
  return count;
}

static bool put_events(Buffer *b, const Row *row, PyObject *listed) {
  Reader times, names, said;
  uint64_t count = list_begin(&times, row->times);
  if (list_begin(&names, row->names) < count || list_begin(&said, row->said) < count) return true;
  for (; count; count--) {
    Slice time, name, attributes;
    (void)row_time(&times, &time);
    (void)row_text(&names, &name);
    (void)row_map(&said, &attributes);
    size_t event = message_open(b, 0x5a);
    if (!event || !put_fixed(b, 0x09, time.data) || !put_text(b, 0x12, name) ||
        !put_pairs(b, 0x1a, attributes, listed) || !message_close(b, event))
      return false;
  }
  return true;
}

static bool put_links(Buffer *b, const Row *row, PyObject *listed) {
  Reader traces, spans, states, linked;
  uint64_t count = list_begin(&traces, row->traces);
  uint64_t others[] = {list_begin(&spans, row->spans), list_begin(&states, row->states), list_begin(&linked, row->linked)};
  for (int i = 0; i < 3; i++) count = others[i] < count ? others[i] : count;
  for (; count; count--) {
    Slice trace, span, state, attributes;
    uint8_t trace_id[16], span_id[8];
    (void)row_text(&traces, &trace);
    (void)row_text(&spans, &span);
    (void)row_text(&states, &state);
    (void)row_map(&linked, &attributes);
    if (!unhex(trace_id, trace, 16) || !unhex(span_id, span, 8)) continue;
    size_t link = message_open(b, 0x6a);
    if (!link || !put_bytes(b, 0x0a, trace_id, 16) || !put_bytes(b, 0x12, span_id, 8) ||
        !put_text(b, 0x1a, state) || !put_pairs(b, 0x22, attributes, listed) || !message_close(b, link))
      return false;
  }
  return true;
}

/* Write a span: 1, 0 when it has no usable ids, -1 failed. */
static int put_span(Buffer *b, const Row *row, PyObject *listed) {
  static const char *const kinds[] = {"INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER", NULL};
  static const char *const codes[] = {"OK", "ERROR", NULL};
  uint8_t trace[16], span[8], parent[8];
  if (!unhex(trace, row->texts[R_TRACE], 16) || !unhex(span, row->texts[R_SPAN], 8)) return 0;
  uint64_t end = row->duration >> 63 ? 0 : (uint64_t)row->start + row->duration;
  uint64_t code = code_of(row->texts[R_STATUS], codes);
  size_t message = message_open(b, 0x12);
  if (!message || !put_bytes(b, 0x0a, trace, 16) || !put_bytes(b, 0x12, span, 8)) return -1;
  if (unhex(parent, row->texts[R_PARENT], 8) && !put_bytes(b, 0x22, parent, 8)) return -1;
  if (row->state.size && !put_text(b, 0x1a, row->state)) return -1;
  if (!put_text(b, 0x2a, row->texts[R_NAME]) || !put_varint(b, 0x30, code_of(row->texts[R_KIND], kinds)) ||
      !put_fixed(b, 0x39, &row->start) || !put_fixed(b, 0x41, &end) || !put_pairs(b, 0x4a, row->attributes, listed) ||
      !put_events(b, row, listed) || !put_links(b, row, listed))
    return -1;
  if (code || row->message.size) {
    size_t status = message_open(b, 0x7a);
    if (!status || !put_text(b, 0x12, row->message) || !put_varint(b, 0x18, code) || !message_close(b, status)) return -1;
  }
  return message_close(b, message) ? 1 : -1;
}

static bool same_slice(Slice a, Slice b) { return a.size == b.size && !memcmp(a.data, b.data, a.size); }

/* The group of a row's resource and scope, a new one where it has none yet. */
static uint32_t group_of(RowGroup *groups, uint32_t *count, const Row *row) {
  uint32_t hash = hash_of(row->resource.data, row->resource.size) ^ hash_of(row->scope.data, row->scope.size) * 31;
  for (uint32_t i = *count; i; i--) {
    const RowGroup *g = &groups[i - 1];
    if (g->hash == hash && same_slice(g->resource, row->resource) && same_slice(g->scope, row->scope) &&
        same_slice(g->version, row->version))
      return i - 1;
  }
  groups[*count] = (RowGroup){row->resource, row->scope, row->version, hash};
  return (*count)++;
}

static bool put_group(Buffer *out, const RowGroup *g, PyObject *listed, const Buffer *spans, const size_t *ends,
                      const uint32_t *member, uint32_t number, size_t rows) {
  size_t group = message_open(out, 0x0a), resource = message_open(out, 0x0a);
  if (!group || !resource || !put_pairs(out, 0x0a, g->resource, listed) || !message_close(out, resource)) return false;
  size_t scoped = message_open(out, 0x12), scope = message_open(out, 0x0a);
  if (!scoped || !scope || !put_text(out, 0x0a, g->scope) || !put_text(out, 0x12, g->version) ||
      !message_close(out, scope))
    return false;
  for (size_t i = 0; i < rows; i++) {
    size_t begin = i ? ends[i - 1] : 0;
    if (member[i] == number && !buffer_add(out, spans->data + begin, ends[i] - begin)) return false;
  }
  return message_close(out, scoped) && message_close(out, group);
}

typedef struct {
  RowGroup groups[MAX_ROWS];
  size_t ends[MAX_ROWS];
  uint32_t member[MAX_ROWS];
  uint32_t groups_found;
  size_t rows, rejected;
  Buffer spans, out;
} Encoding;

/* Encode whole rows; false when the data is damaged (no exception), memory is out or Python raised. */
static bool encode_rows(Encoding *e, Reader *r, size_t max_rows, PyObject *listed) {
  int got = 1;
  while (e->rows < max_rows && r->at < r->end) {
    Row row;
    Reader ahead = *r;
    if ((got = row_read(&ahead, &row)) <= 0) break;
    size_t before = e->spans.size;
    int done = put_span(&e->spans, &row, listed);
    if (done < 0) return false;
    if (!done) e->spans.size = before;
    e->rejected += !done;
    e->member[e->rows] = done ? group_of(e->groups, &e->groups_found, &row) : MAX_ROWS;
    e->ends[e->rows++] = e->spans.size;
    *r = ahead;
  }
  for (uint32_t i = 0; i < e->groups_found; i++) {
    if (!put_group(&e->out, &e->groups[i], listed, &e->spans, e->ends, e->member, i, e->rows)) return false;
  }
  return got >= 0;
}

static PyObject *rows_encode(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer data;
  Py_ssize_t start, max_rows;
  PyObject *listed, *result = NULL;
  if (!PyArg_ParseTuple(args, "y*nnO", &data, &start, &max_rows, &listed)) return NULL;
  Encoding *e = calloc(1, sizeof *e);
  if (e && start >= 0 && start <= data.len && max_rows > 0 && max_rows <= MAX_ROWS) {
    const uint8_t *begin = data.buf;
    Reader r = {begin + start, begin + data.len};
    if (encode_rows(e, &r, (size_t)max_rows, listed)) {
      result = Py_BuildValue("(nnny#)", (Py_ssize_t)(r.at - begin), (Py_ssize_t)e->rows, (Py_ssize_t)e->rejected,
                             e->out.data ? (const char *)e->out.data : "", (Py_ssize_t)e->out.size);
    }
  }
  if (!result && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "damaged rows");
  if (e) {
    buffer_free(&e->spans);
    buffer_free(&e->out);
  }
  free(e);
  PyBuffer_Release(&data);
  return result;
}

#endif
