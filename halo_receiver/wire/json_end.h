/* Where a JSON value ends, found without a look at what is in it: large requests are parsed in parts. */
#ifndef HALO_JSON_END_H
#define HALO_JSON_END_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <stdlib.h>

#include "json.h"

typedef struct {
  uint64_t depth, openings, commas;
} Extent;

/* Step behind the string that begins at `p`; NULL when it has no end. */
static const uint8_t *over_string(const uint8_t *p, const uint8_t *end) {
  for (p++;; p++) {
    p = json_run(p, end);
    if (p >= end) return NULL;
    if (*p == '"') return p + 1;
    if (*p == '\\' && ++p >= end) return NULL; /* and what is escaped; a control character is the parser's affair */
  }
}

/* Step behind a number or a word, which ends where something else begins. */
static const uint8_t *over_scalar(const uint8_t *p, const uint8_t *end) {
  while (p < end && *p != ' ' && *p != '\n' && *p != '\r' && *p != '\t' && *p != ',' && *p != ']' && *p != '}') p++;
  return p;
}

static const uint8_t *over_value(const uint8_t *p, const uint8_t *end, Extent *x) {
  if (p < end && *p == '"') return over_string(p, end);
  if (p < end && *p != '{' && *p != '[') return over_scalar(p, end);
  for (; p < end; p++) {
    switch (*p) {
      case '"':
        p = over_string(p, end);
        if (!p) return NULL;
        p--;
        break;
      case '{': case '[':
        x->depth++;
        x->openings++;
        break;
      case '}': case ']':
        if (!--x->depth) return p + 1;
        break;
      case ',': x->commas++; break;
      default: break;
    }
  }
  return NULL;
}

typedef struct {
  uint64_t *places; /* begin and end of each item */
  size_t count, room;
  const uint8_t *end; /* of the list; NULL: it is broken, or there was no memory */
  uint64_t openings, largest; /* of all; objects, lists and commas in the largest item */
} Items;

static const uint8_t *over_space(const uint8_t *p, const uint8_t *end) {
  while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
  return p;
}

static bool add_item(Items *items, uint64_t begin, uint64_t end) {
  if (items->count + 2 > items->room) {
    size_t room = items->room ? 2 * items->room : 256;
    uint64_t *grown = realloc(items->places, room * sizeof *grown);
    if (!grown) return false;
    items->places = grown;
    items->room = room;
  }
  items->places[items->count++] = begin;
  items->places[items->count++] = end;
  return true;
}

/* Find the items of the list that begins at `p`. */
static void items_of(Items *items, const uint8_t *start, const uint8_t *p, const uint8_t *end) {
  p = over_space(p + 1, end);
  if (p < end && *p == ']') {
    items->end = p + 1;
    return;
  }
  while (p < end) {
    Extent x = {0};
    const uint8_t *begin = p;
    p = over_value(begin, end, &x);
    if (!p || p == begin || !add_item(items, (uint64_t)(begin - start), (uint64_t)(p - start))) return;
    items->openings += x.openings;
    if (x.openings + x.commas > items->largest) items->largest = x.openings + x.commas;
    p = over_space(p, end);
    if (p < end && *p == ']') {
      items->end = p + 1;
      return;
    }
    if (p == end || *p != ',') return;
    p = over_space(p + 1, end);
  }
}

static PyObject *json_items(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer body;
  Py_ssize_t at;
  if (!PyArg_ParseTuple(args, "y*n", &body, &at)) return NULL;
  Items items = {0};
  const uint8_t *start = body.buf;
  if (at >= 0 && at < body.len && start[at] == '[') {
    Py_BEGIN_ALLOW_THREADS
    items_of(&items, start, start + at, start + body.len);
    Py_END_ALLOW_THREADS
  }
  Py_ssize_t end = items.end ? items.end - start : -1;
  PyBuffer_Release(&body);
  PyObject *result = NULL;
  if (end < 0)
    PyErr_SetString(PyExc_ValueError, "it is no list, or has no end");
  else
    result = Py_BuildValue("(ny#KK)", end, items.places ? (const char *)items.places : "",
                           (Py_ssize_t)(items.count * sizeof *items.places),
                           (unsigned long long)items.openings, (unsigned long long)items.largest);
  free(items.places);
  return result;
}

static PyObject *json_end(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer body;
  Py_ssize_t at;
  if (!PyArg_ParseTuple(args, "y*n", &body, &at)) return NULL;
  Extent x = {0};
  const uint8_t *start = body.buf, *found = NULL;
  if (at >= 0 && at < body.len) {
    Py_BEGIN_ALLOW_THREADS
    found = over_value(start + at, start + body.len, &x);
    Py_END_ALLOW_THREADS
  }
  Py_ssize_t end = found ? (Py_ssize_t)(found - start) : -1;
  PyBuffer_Release(&body);
  if (end <= at) {
    PyErr_SetString(PyExc_ValueError, "it has no end");
    return NULL;
  }
  return Py_BuildValue("(nKK)", end, (unsigned long long)x.openings, (unsigned long long)x.commas);
}

#endif
