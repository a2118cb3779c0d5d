/* A member of the JSON in an attribute, found without building the rest: a request of 3 kB is asked for three of them. */
#ifndef HALO_MEMBER_H
#define HALO_MEMBER_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include "json.h"

#define MAX_PATHS 8
#define MAX_STEPS 4
#define MAX_WALK_DEPTH 64

typedef struct {
  Slice steps[MAX_STEPS];
  int length;
  Slice found; /* the value as it is written; data NULL: there is none */
} Path;

/* Step over a string. `bytes` is what stands between its quotes, `plain` says that nothing is escaped there. */
static bool json_over_text(Json *j, Slice *bytes, bool *plain) {
  const uint8_t *end = j->end;
  if (j->at == end || *j->at != '"') return false;
  const uint8_t *start = ++j->at, *p = start;
  *plain = true;
  for (;;) {
    p = json_run(p, end);
    if (p == end || *p < 0x20) return false;
    if (*p == '"') break;
    if (end - p < 2) return false;
    *plain = false;
    switch (p[1]) {
      case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't': p += 2; break;
      case 'u': {
        Json escape = {p + 2, end};
        uint32_t code;
        if (!json_hex(&escape, &code)) return false;
        if (code >= 0xDC00 && code < 0xE000) return false;
        if (code >= 0xD800 && code < 0xDC00 &&
            (!json_word(&escape, "\\u") || !json_hex(&escape, &code) || code < 0xDC00 || code > 0xDFFF))
          return false;
        p = escape.at;
        break;
      }
      default: return false;
    }
  }
  *bytes = (Slice){start, (size_t)(p - start)};
  j->at = p + 1;
  return true;
}

static bool json_over_digits(Json *j) {
  const uint8_t *start = j->at;
  while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
  return j->at > start;
}

/* Numbers that are surely finite. */
static bool json_over_number(Json *j) {
  const uint8_t *start = j->at;
  if (j->at < j->end && *j->at == '-') j->at++;
  const uint8_t *digits = j->at;
  if (!json_over_digits(j) || (*digits == '0' && j->at - digits > 1)) return false;
  if (j->at < j->end && *j->at == '.') {
    j->at++;
    if (!json_over_digits(j)) return false;
  }
  if (j->at < j->end && (*j->at | 32) == 'e') {
    j->at++;
    if (j->at < j->end && (*j->at == '+' || *j->at == '-')) j->at++;
    const uint8_t *exponent = j->at;
    if (!json_over_digits(j) || j->at - exponent > 2) return false;
  }
  return j->at - start < 200;
}

static bool path_goes_to(const Path *path, int step, Slice key) {
  const Slice *wanted = &path->steps[step];
  return wanted->size == key.size && !memcmp(wanted->data, key.data, key.size);
}

/* Step over a value, and find in it what the paths of `wanted`, one bit each, lead to from their `step` on. */
static bool json_walk(Json *j, Path *paths, int count, unsigned wanted, int step) {
  bool plain;
  Slice text;
  if (step > MAX_WALK_DEPTH) return false;
  uint8_t first = json_next(j);
  if (first == '"') return json_over_text(j, &text, &plain);
  if (first == 't') return json_word(j, "true");
  if (first == 'f') return json_word(j, "false");
  if (first == 'n') return json_word(j, "null");
  if (first != '{' && first != '[') return json_over_number(j);
  uint8_t last = first == '{' ? '}' : ']';
  unsigned met = 0;
  size_t place = 0;
  j->at++;
  if (json_take(j, last)) return true;
  do {
    unsigned here = 0, deeper = 0;
    if (first == '{') {
      json_next(j);
      if (!json_over_text(j, &text, &plain) || (wanted && !plain) || !json_take(j, ':')) return false;
      for (int i = 0; wanted && i < count; i++) {
        if (wanted >> i & 1 && path_goes_to(&paths[i], step, text)) here |= 1u << i;
      }
      if (here & met) return false; /* twice: the last one counts */
      met |= here;
    } else if (wanted && place < 10) {
      uint8_t digit = (uint8_t)('0' + place);
      for (int i = 0; i < count; i++) {
        Slice next = wanted >> i & 1 ? paths[i].steps[step] : (Slice){NULL, 0};
        if (next.size > 1 && (*next.data <= '9' || *next.data >= 0x80)) return false; /* perhaps a place beyond these */
        if (next.size == 1 && *next.data == digit) here |= 1u << i;
      }
      place++;
    }
    for (int i = 0; here && i < count; i++) {
      if (here >> i & 1 && paths[i].length > step + 1) deeper |= 1u << i;
    }
    json_next(j);
    const uint8_t *start = j->at;
    if (!json_walk(j, paths, count, deeper, step + 1)) return false;
    for (int i = 0; here && i < count; i++) {
      if ((here & ~deeper) >> i & 1) paths[i].found = (Slice){start, (size_t)(j->at - start)};
    }
  } while (json_take(j, ','));
  return json_take(j, last);
}

/* A text as text, an integer as such; a structure or another number as its JSON, in bytes. */
static PyObject *python_member(Slice found) {
  Json j = {found.data, found.data + found.size};
  Buffer text = {0};
  PyObject *result = NULL;
  if (*found.data == 't' || *found.data == 'f') return PyBool_FromLong(*found.data == 't');
  if (*found.data != '"') return PyBytes_FromStringAndSize((const char *)found.data, (Py_ssize_t)found.size);
  Piece piece;
  if (json_text(&j, &text, &piece))
    result = PyUnicode_DecodeUTF8(text.data ? (const char *)text.data : "", (Py_ssize_t)text.size, NULL);
  buffer_free(&text);
  return result;
}

/* Read paths that Python gives, as tuples of their steps; how many, or -1. They lie in its texts. */
static int paths_read(PyObject *given, Path *paths) {
  Py_ssize_t size, length, count = PyTuple_Size(given);
  if (count < 0 || count > MAX_PATHS) return -1;
  for (Py_ssize_t i = 0; i < count; i++) {
    PyObject *steps = PyTuple_GetItem(given, i);
    length = steps && PyTuple_Check(steps) ? PyTuple_Size(steps) : 0;
    if (length < 1 || length > MAX_STEPS) return -1;
    paths[i] = (Path){.length = (int)length};
    for (Py_ssize_t k = 0; k < length; k++) {
      const char *step = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(steps, k), &size);
      if (!step) return -1;
      paths[i].steps[k] = (Slice){(const uint8_t *)step, (size_t)size};
    }
  }
  return (int)count;
}

/* Find what the first of some paths leads to in JSON text: 1 found, 0 there is none, -1 not sure. */
static int paths_find(Slice text, Path *paths, int count, Slice *found) {
  Json j = {text.data, text.data + text.size};
  for (int i = 0; i < count; i++) paths[i].found = (Slice){NULL, 0};
  bool sure = text.size && (*text.data == '{' || *text.data == '[');
  sure = sure && json_walk(&j, paths, count, (1u << count) - 1, 0) && !json_next(&j) && j.at == j.end;
  if (!sure) return -1;
  for (int i = 0; i < count; i++) {
    if (!paths[i].found.size || *paths[i].found.data == 'n') continue;
    *found = paths[i].found;
    return 1;
  }
  return 0;
}

/* The same, of Python's text and paths. May set an exception. */
static int member_find(PyObject *value, PyObject *given, Slice *found) {
  Path paths[MAX_PATHS];
  Py_ssize_t size;
  int count = paths_read(given, paths);
  const char *text = count < 0 ? NULL : PyUnicode_AsUTF8AndSize(value, &size);
  if (count >= 0 && !text) PyErr_Clear(); /* lone surrogates */
  return text ? paths_find((Slice){(const uint8_t *)text, (size_t)size}, paths, count, found) : -1;
}

/* member(text, paths) -> the value, its JSON in bytes, or None; False when unsure */
static PyObject *member(PyObject *module, PyObject *args) {
  PyObject *value, *given;
  Slice found;
  (void)module;
  if (!PyArg_ParseTuple(args, "UO!", &value, &PyTuple_Type, &given)) return NULL;
  int sure = member_find(value, given, &found);
  if (PyErr_Occurred()) return NULL;
  if (sure < 0) Py_RETURN_FALSE;
  return sure ? python_member(found) : Py_NewRef(Py_None);
}

/* A count is given as such: up to 18 digits. */
static bool member_count(Slice found, long long *count) {
  *count = 0;
  for (size_t i = 0; i < found.size; i++) {
    if (found.data[i] < '0' || found.data[i] > '9') return false;
    *count = *count * 10 + (found.data[i] - '0');
  }
  return found.size && found.size <= 18;
}

/* What a source that `first` knows by itself leads to, (key, paths, source); the source is asked where C is not sure. */
static PyObject *member_of(PyObject *attributes, PyObject *source, PyObject *reading, PyObject *read) {
  PyObject *value = PyDict_GetItemWithError(attributes, PyTuple_GetItem(source, 0));
  Slice found;
  long long count;
  if (!value) return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
  int sure = PyUnicode_CheckExact(value) ? member_find(value, PyTuple_GetItem(source, 1), &found) : -1;
  if (PyErr_Occurred()) return NULL;
  if (!sure) return Py_NewRef(Py_None);
  if (sure > 0 && (*found.data == '"' || *found.data == 't' || *found.data == 'f')) return python_member(found);
  if (sure > 0 && member_count(found, &count)) return PyLong_FromLongLong(count);
  return PyObject_CallMethodObjArgs(PyTuple_GetItem(source, 2), read, reading, NULL);
}

/* first(reading, sources), as sources.first */
static PyObject *first_value(PyObject *module, PyObject *const *args, Py_ssize_t count) {
  static PyObject *attributes_name, *read_name;
  (void)module;
  if (!attributes_name) attributes_name = PyUnicode_InternFromString("attributes");
  if (!read_name) read_name = PyUnicode_InternFromString("read");
  if (count != 2 || !PyTuple_Check(args[1]) || !attributes_name || !read_name) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "first takes a reading and a tuple of sources");
    return NULL;
  }
  PyObject *attributes = PyObject_GetAttr(args[0], attributes_name), *value = NULL;
  if (!attributes) return NULL;
  Py_ssize_t sources = PyTuple_Size(args[1]);
  for (Py_ssize_t i = 0; i < sources; i++) {
    PyObject *source = PyTuple_GetItem(args[1], i);
    if (PyUnicode_CheckExact(source)) {
      value = Py_XNewRef(PyDict_GetItemWithError(attributes, source));
    } else if (PyTuple_CheckExact(source) && PyTuple_Size(source) == 3) {
      value = member_of(attributes, source, args[0], read_name);
    } else {
      value = PyObject_CallMethodObjArgs(source, read_name, args[0], NULL);
    }
    if (PyErr_Occurred()) {
      Py_CLEAR(value);
      break;
    }
    if (value && value != Py_None && !(PyUnicode_CheckExact(value) && !PyUnicode_GetLength(value))) break;
    Py_CLEAR(value);
  }
  Py_DECREF(attributes);
  return value || PyErr_Occurred() ? value : Py_NewRef(Py_None);
}

#endif
