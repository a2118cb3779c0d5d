/* A look at a whole request before it is acknowledged: is it one, and which spans have no usable ids?
 *
 * The walk touches nothing of Python, so that a long one runs beside the interpreter; a short one is bounded by the
 * fields that are read, for its time depends on them and hardly on the bytes.
 */
#ifndef HALO_CHECK_H
#define HALO_CHECK_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>
#include <stdlib.h>

#include "values.h"

#define MAX_NAMED 3       /* check._MAX_REASONS */
#define MAX_SCOPES 10000  /* more resources or scopes, or more items, are looked at by the reference, which refuses some */
#define MAX_ITEMS 1000000
#define GROUP_FIELDS 50   /* what a resource counts as: its service is counted in Python */

typedef struct {
  uint64_t index;
  Slice trace, span;
} Named;

typedef struct {
  Slice name;
  uint64_t items, rejected;
} Service;

typedef struct {
  Walk walk;
  uint64_t groups, items, rejected;
  Named named[MAX_NAMED];
  int named_count;
  Service *services;
  size_t service_count, service_room;
} Check;

static bool check_span(Check *c, Slice message, uint64_t index) {
  Reader r = reader_of(message);
  Field f;
  int got;
  Slice trace = {0}, span = {0};
  while ((got = next_field(&r, &f)) > 0) {
    if (!walk_field(&c->walk)) return false;
    if (f.number >= 20) continue;
    Shape shape = SHAPES[M_SPAN][f.number];
    if (!shape.wire) continue;
    if (shape.wire != f.wire + 1) return false;
    if (shape.message && !message_holds(&c->walk, f.bytes, shape.message, 4)) return false;
    if (f.number == 1) trace = f.bytes;
    if (f.number == 2) span = f.bytes;
  }
  if (got < 0) return false;
  if (trace.size == 16 && span.size == 8 && !all_zero(trace) && !all_zero(span)) return true;
  c->rejected++;
  if (c->named_count < MAX_NAMED) c->named[c->named_count++] = (Named){index, trace, span};
  return true;
}

/* The service of a resource is the first service.name, as check._add_service takes it. */
static bool service_of(Slice resource, Slice *service) {
  Reader r = reader_of(resource);
  Field f;
  while (next_field(&r, &f) > 0) {
    Slice key;
    Value value;
    if (f.number != 1) continue;
    if (!read_pair(f.bytes, &key, &value, SIZE_MAX)) return false;
    if (key.size == 12 && !memcmp(key.data, "service.name", 12)) {
      *service = value.type == T_STRING ? value.bytes : (Slice){0};
      return true;
    }
  }
  *service = (Slice){0};
  return true;
}

static bool add_service(Check *c, Service service) {
  if (c->service_count == c->service_room) {
    size_t room = c->service_room ? 2 * c->service_room : 8;
    Service *grown = realloc(c->services, room * sizeof *grown);
    if (!grown) return false;
    c->services = grown;
    c->service_room = room;
  }
  c->services[c->service_count++] = service;
  return true;
}

static bool check_group(Check *c, Slice message, int item) {
  Reader r = reader_of(message), inner;
  Field f, g;
  int got, resources = 0;
  uint64_t count = 0, before = c->rejected;
  Slice resource = {0}, service = {0};
  c->walk.fields += GROUP_FIELDS;
  while ((got = next_field(&r, &f)) > 0) {
    if (!walk_field(&c->walk)) return false;
    if (f.number > 3) continue;
    if (f.wire != 2) return false;
    if (f.number == 1) {
      if (resources++ || !message_holds(&c->walk, f.bytes, M_RESOURCE, 2)) return false;
      resource = f.bytes;
    }
    if (f.number != 2) continue;
    if (++c->groups > MAX_SCOPES) return false;
    inner = reader_of(f.bytes);
    int inside, scopes = 0;
    while ((inside = next_field(&inner, &g)) > 0) {
      if (!walk_field(&c->walk)) return false;
      if (g.number > 3) continue;
      if (g.wire != 2) return false;
      if (g.number == 1 && (scopes++ || !message_holds(&c->walk, g.bytes, M_SCOPE, 3))) return false;
      if (g.number != 2) continue;
      if (c->items + ++count > MAX_ITEMS) return false;
      if (item == M_SPAN ? !check_span(c, g.bytes, c->items + count) : !message_holds(&c->walk, g.bytes, M_LOG, 3))
        return false;
    }
    if (inside < 0) return false;
  }
  if (got < 0 || !service_of(resource, &service)) return false;
  c->items += count;
  return add_service(c, (Service){service, count, c->rejected - before});
}

static bool check_request(Check *c, Slice body, bool logs) {
  Reader r = reader_of(body);
  Field f;
  int got;
  while ((got = next_field(&r, &f)) > 0) {
    if (!walk_field(&c->walk)) return false;
    if (f.number != 1) continue;
    if (f.wire != 2 || ++c->groups > MAX_SCOPES || !check_group(c, f.bytes, logs ? M_LOG : M_SPAN)) return false;
  }
  return got == 0;
}

static PyObject *bytes_of(Slice s) { return PyBytes_FromStringAndSize(s.data ? (const char *)s.data : "", (Py_ssize_t)s.size); }

static PyObject *check_told(const Check *c) {
  PyObject *named = PyList_New(0), *services = PyList_New(0);
  bool told = named && services;
  for (int i = 0; told && i < c->named_count; i++) {
    const Named *n = &c->named[i];
    PyObject *one = Py_BuildValue("(KNN)", (unsigned long long)n->index, bytes_of(n->trace), bytes_of(n->span));
    told = one && PyList_Append(named, one) == 0;
    Py_XDECREF(one);
  }
  for (size_t i = 0; told && i < c->service_count; i++) {
    const Service *s = &c->services[i];
    PyObject *one = Py_BuildValue("(NKK)", bytes_of(s->name), (unsigned long long)s->items, (unsigned long long)s->rejected);
    told = one && PyList_Append(services, one) == 0;
    Py_XDECREF(one);
  }
  PyObject *result =
      told ? Py_BuildValue("(KKOO)", (unsigned long long)c->items, (unsigned long long)c->rejected, named, services) : NULL;
  Py_XDECREF(named);
  Py_XDECREF(services);
  return result;
}

static PyObject *check(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer body;
  int logs;
  unsigned long long most = 0;
  if (!PyArg_ParseTuple(args, "y*p|K", &body, &logs, &most)) return NULL;
  Check c = {.walk = {.max_fields = most ? most : UINT64_MAX}};
  Slice bytes = {body.buf, (size_t)body.len};
  bool sure;
  if (most) { /* soon over: to let another thread run would take longer */
    sure = check_request(&c, bytes, logs);
  } else {
    Py_BEGIN_ALLOW_THREADS
    sure = check_request(&c, bytes, logs);
    Py_END_ALLOW_THREADS
  }
  PyObject *result = NULL;
  if (sure) {
    result = check_told(&c);
  } else if (c.walk.messages > MAX_MESSAGES) {
    PyErr_SetString(PyExc_OverflowError, "too many messages");
  } else {
    result = Py_NewRef(c.walk.fields > c.walk.max_fields ? Py_False : Py_None);
  }
  PyBuffer_Release(&body); /* what is told was in it */
  free(c.services);
  return result;
}

#endif
