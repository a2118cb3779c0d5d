/* The module: `check` looks at a request before it is acknowledged, `Scanner` turns requests into columns.
 *
 * Optional: where it could not be built, __init__.py says so and Python does all the work.
 */
#include "check.h"
#include "crc.h"
#include "json_end.h"
#include "member.h"
#include "messages.h"
#include "rows.h"
#include "scan.h"

#define VERSION 10 /* of what the two sides of this room expect of each other: wire/__init__.py has the same */

static PyObject *crc32_bytes(PyObject *module, PyObject *data) {
  (void)module;
  Py_buffer body;
  if (PyObject_GetBuffer(data, &body, PyBUF_SIMPLE) < 0) return NULL;
  uint32_t crc;
  Py_BEGIN_ALLOW_THREADS
  crc = crc32_of(body.buf, (size_t)body.len);
  Py_END_ALLOW_THREADS
  PyBuffer_Release(&body);
  return PyLong_FromUnsignedLong(crc);
}

/* ---- Scanner ---------------------------------------------------------------------------------------------------- */

static void each_column(Scanner *s, void (*act)(Column *)) {
  for (int i = 0; i < COLUMNS; i++) act(&s->columns[i]);
  for (int i = 0; i < LINK_COLUMNS; i++) act(&s->links[i]);
  act(&s->keys);
  act(&s->values);
  act(&s->offered);
}

static PyObject *scanner_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"describe", "group", "meaning", "dumps", "plan", "unwrapped", "loads", "estimate",
                          "finish_reason", "max_attribute_bytes", "span_time", NULL};
  PyObject *describe, *group, *meaning, *dumps, *plan, *unwrapped, *loads, *estimate, *finish_reason;
  Py_ssize_t limit;
  int span_time;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOOO$np", names, &describe, &group, &meaning, &dumps, &plan,
                                   &unwrapped, &loads, &estimate, &finish_reason, &limit, &span_time))
    return NULL;
  allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  Scanner *s = (Scanner *)alloc(type, 0);
  if (!s) return NULL;
  Py_XDECREF(json_dumps);
  json_dumps = Py_NewRef(dumps);
  s->group = Py_NewRef(group);
  s->meaning = Py_NewRef(meaning);
  s->plan = Py_NewRef(plan);
  s->unwrapped = Py_NewRef(unwrapped);
  s->loads = Py_NewRef(loads);
  s->estimate = Py_NewRef(estimate);
  s->finish_reason = Py_NewRef(finish_reason);
  s->shapes = shapes_make();
  s->memos = calloc(MAX_MEMOS, sizeof *s->memos);
  s->limit = limit < 0 ? 0 : (size_t)limit;
  s->span_time = span_time;
  s->attributes = malloc(MAX_ATTRIBUTES * sizeof *s->attributes);
  if (!keys_make(&s->known, describe) || !s->attributes || !s->shapes || !s->memos) {
    Py_DECREF(s);
    return PyErr_NoMemory();
  }
  return (PyObject *)s;
}

static void scanner_dealloc(Scanner *s) {
  PyTypeObject *type = Py_TYPE((PyObject *)s);
  each_column(s, column_free);
  keys_free(&s->known);
  free(s->attributes);
  buffer_free(&s->resource);
  buffer_free(&s->scope);
  buffer_free(&s->joined);
  arena_free(&s->texts);
  for (int i = 0; i < 3; i++) {
    Py_CLEAR(s->speech[i].reason);
    speech_trim(&s->speech[i], 0);
  }
  shapes_free(s->shapes);
  for (int i = 0; s->memos && i < MAX_MEMOS; i++) memo_empty(&s->memos[i]);
  free(s->memos);
  PyObject **held[] = {&s->group, &s->meaning, &s->plan, &s->unwrapped, &s->loads, &s->estimate, &s->finish_reason};
  for (size_t i = 0; i < sizeof held / sizeof *held; i++) Py_CLEAR(*held[i]);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(s);
  Py_DECREF(type);
}

static PyObject *scanner_add(Scanner *s, PyObject *args) {
  Py_buffer body;
  long long arrival;
  if (!PyArg_ParseTuple(args, "y*L", &body, &arrival)) return NULL;
  if (s->known.count > MAX_KEYS / 2) {
    shapes_forget(s->shapes); /* they name keys by their number */
    keys_forget(&s->known);
  }
  each_column(s, column_mark);
  s->duplicates = 0;
  s->walk = (Walk){.max_fields = UINT64_MAX};
  bool sure = scan_request(s, (Slice){body.buf, (size_t)body.len}, arrival);
  PyBuffer_Release(&body);
  if (!sure) each_column(s, column_rollback);
  if (PyErr_Occurred()) return NULL;
  return PyBool_FromLong(sure);
}

static void release(PyObject *capsule) {
  spare_keep(PyCapsule_GetPointer(capsule, NULL), (size_t)(uintptr_t)PyCapsule_GetContext(capsule));
}

/* (address, size, owner) of a buffer, which is given away; None when it is empty. */
static PyObject *give(Buffer *b) {
  Buffer taken = *b;
  memset(b, 0, sizeof *b);
  if (!taken.size) {
    free(taken.data);
    return Py_NewRef(Py_None);
  }
  PyObject *owner = PyCapsule_New(taken.data, NULL, release);
  if (!owner) {
    free(taken.data);
    return NULL;
  }
  (void)PyCapsule_SetContext(owner, (void *)(uintptr_t)taken.room); /* fails for what is no capsule alone */
  return Py_BuildValue("(KKN)", (unsigned long long)(uintptr_t)taken.data, (unsigned long long)taken.size, owner);
}

/* One bit a row, in place of one byte. */
static void pack(Buffer *b) {
  size_t rows = b->size;
  for (size_t i = 0; i < rows; i++) {
    uint8_t bit = b->data[i];
    if (i % 8 == 0) b->data[i / 8] = 0;
    b->data[i / 8] |= (uint8_t)((bit & 1) << i % 8);
  }
  b->size = (rows + 7) / 8;
}

static PyObject *column_finish(Column *c, char kind) {
  long long rows = c->rows, nulls = c->nulls;
  pack(&c->valid);
  if (!nulls) c->valid.size = 0;
  if (kind == 'b') pack(&c->data);
  PyObject *valid = give(&c->valid), *ends = give(&c->ends), *data = give(&c->data);
  memset(c, 0, sizeof *c);
  if (!valid || !ends || !data) {
    Py_XDECREF(valid);
    Py_XDECREF(ends);
    Py_XDECREF(data);
    return NULL;
  }
  return Py_BuildValue("(LLNNN)", rows, nulls, valid, ends, data);
}

static PyObject *scanner_finish(Scanner *s, PyObject *args) {
  (void)args;
  PyObject *result = PyList_New(0);
  for (int i = 0; result && i < COLUMNS; i++) {
    char kind = LAYOUT[i].kind;
    PyObject *inner = PyList_New(0);
    int children = kind == 'k' ? LINK_COLUMNS : kind == 'l' ? 1 : 0;
    for (int j = 0; inner && j < children; j++) {
      Column *child = kind == 'k' ? &s->links[j] : i == KEYS ? &s->keys : i == VALUES ? &s->values : &s->offered;
      PyObject *one = column_finish(child, kind == 'k' ? LINK_KINDS[j] : 's');
      if (!one || PyList_Append(inner, one) < 0) Py_CLEAR(inner);
      Py_XDECREF(one);
    }
    PyObject *column = inner ? column_finish(&s->columns[i], kind) : NULL;
    PyObject *both = column ? Py_BuildValue("(NN)", column, inner) : NULL;
    if (!both || PyList_Append(result, both) < 0) Py_CLEAR(result);
    Py_XDECREF(both);
  }
  return result;
}

static PyObject *scanner_rows(Scanner *s, void *closure) {
  (void)closure;
  return PyLong_FromLongLong(s->columns[TRACE_ID].rows);
}

static PyObject *scanner_bytes(Scanner *s, void *closure) {
  (void)closure;
  size_t total = s->values.data.size + s->keys.data.size;
  for (int i = 0; i < COLUMNS; i++) total += s->columns[i].data.size;
  return PyLong_FromSize_t(total);
}

static PyMethodDef scanner_methods[] = {
    {"add", (PyCFunction)scanner_add, METH_VARARGS,
     "add(body, arrival_ns) -> bool: append the spans of one request; False, and nothing appended, when unsure."},
    {"finish", (PyCFunction)scanner_finish, METH_NOARGS,
     "finish() -> [(column, children)]: give the columns away and start anew."},
    {NULL, NULL, 0, NULL},
};

static PyObject *scanner_duplicates(Scanner *s, void *unused) {
  (void)unused;
  return PyLong_FromLongLong(s->duplicates);
}

static PyGetSetDef scanner_members[] = {
    {"duplicates", (getter)scanner_duplicates, NULL, "keys that were sent twice in the request that was added last", NULL},
    {"rows", (getter)scanner_rows, NULL, "rows appended since `finish`", NULL},
    {"bytes", (getter)scanner_bytes, NULL, "bytes they take", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot scanner_slots[] = {
    {Py_tp_doc, "Turns export requests into the columns of span_rows."},
    {Py_tp_new, scanner_new},
    {Py_tp_dealloc, scanner_dealloc},
    {Py_tp_methods, scanner_methods},
    {Py_tp_getset, scanner_members},
    {0, NULL},
};

static PyType_Spec scanner_spec = {
    "halo_receiver.wire._wire.Scanner", sizeof(Scanner), 0, Py_TPFLAGS_DEFAULT, scanner_slots,
};

static PyMethodDef methods[] = {
    {"check", check, METH_VARARGS,
     "check(body, logs, max_fields=0) -> (items, rejected, named, services); None when unsure, False when it takes more than "
     "max_fields. OverflowError: too many messages."},
    {"json_end", json_end, METH_VARARGS,
     "json_end(body, at) -> (end, openings, commas) of the JSON value at a place; ValueError when it has no end."},
    {"json_items", json_items, METH_VARARGS,
     "json_items(body, at) -> (end, begin and end of each item as uint64, openings, most values in one) of a JSON list; ValueError when "
     "it is broken."},
    {"learn", learn, METH_VARARGS, "learn(kinds, roles): flags of the kinds of parts, and what roles are called; once."},
    {"messages", messages, METH_VARARGS,
     "messages(where, how, role, reason_of) -> (JSON, first role, what was asked last, by the user, what the assistant said last, all "
     "it said, last finish reason), () when there are none, or None when unsure. `where`: a text, attributes with the prefix `how`, "
     "an object's named texts, or (text, role, finish reason, id) of events; `how` of a text: whether choices alone, or all but these."},
    {"member", member, METH_VARARGS,
     "member(text, paths) -> the member of JSON text that the first path leads to, its JSON in bytes where it is neither text "
     "nor boolean, None when there is none; False when unsure."},
    {"first", (PyCFunction)(void (*)(void))first_value, METH_FASTCALL,
     "first(reading, sources) -> the first value that is not empty, or None: as conventions.sources.first."},
    {"rows", rows_encode, METH_VARARGS,
     "rows(data, start, max_rows, listed) -> (end, rows, rejected, request): whole rows of RowBinary as one export request. "
     "listed(text) encodes a list that prints back to the text, or returns None. ValueError: damaged."},
    {"crc32", crc32_bytes, METH_O, "crc32(data) -> int: as zlib.crc32."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) {
  crc_make_table();
  members_learn();
  if (PyModule_AddIntConstant(module, "VERSION", VERSION) < 0) return -1;
  PyObject *type = PyType_FromSpec(&scanner_spec);
  if (!type || PyModule_AddObjectRef(module, "Scanner", type) < 0) {
    Py_XDECREF(type);
    return -1;
  }
  Py_DECREF(type);
  PyObject *layout = PyList_New(0);
  for (int i = 0; layout && i < COLUMNS; i++) {
    PyObject *one = Py_BuildValue("(ss#)", LAYOUT[i].name, &LAYOUT[i].kind, (Py_ssize_t)1);
    if (!one || PyList_Append(layout, one) < 0) Py_CLEAR(layout);
    Py_XDECREF(one);
  }
  if (!layout || PyModule_AddObjectRef(module, "LAYOUT", layout) < 0) {
    Py_XDECREF(layout);
    return -1;
  }
  Py_DECREF(layout);
  return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_wire", "OTLP's wire format, read in place.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__wire(void) { return PyModuleDef_Init(&definition); }
