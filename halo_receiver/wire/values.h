/* AnyValue → JSON text as columns.py writes it, or the Python value that the reference decoder makes. */
#ifndef HALO_VALUES_H
#define HALO_VALUES_H

#include <math.h>

#include "keys.h"

#define MAX_VALUE_DEPTH 16
#define MAX_PAIRS 64 /* of a nested object, whose keys are compared with each other */

typedef enum { T_NULL, T_STRING, T_BOOL, T_INT, T_DOUBLE, T_ARRAY, T_PAIRS, T_BYTES } Type;

typedef struct {
  Type type;
  Slice bytes;
  uint64_t bits;
} Value;

typedef struct {
  Key *key;
  Value value;
} Attribute;

static inline double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, 8);
  return value;
}

/* False when unsure: two values in one, a reference into a string table, or damage. */
static inline bool read_value(Slice any, Value *value, size_t limit) {
  static const int8_t wires[8] = {-1, 2, 0, 0, 1, 2, 2, 2};
  static const Type types[8] = {T_NULL, T_STRING, T_BOOL, T_INT, T_DOUBLE, T_ARRAY, T_PAIRS, T_BYTES};
  Reader r = reader_of(any);
  Field f;
  int got, known = 0;
  value->type = T_NULL;
  value->bytes = (Slice){NULL, 0};
  value->bits = 0;
  while ((got = next_field(&r, &f)) > 0) {
    if (f.number > 8) continue;
    if (known++ || f.number == 8 || f.wire != wires[f.number]) return false;
    value->type = types[f.number];
    value->bytes = f.wire == 2 ? f.bytes : (Slice){NULL, 0};
    value->bits = f.wire == 2 ? 0 : f.value;
    if ((value->type == T_STRING || value->type == T_BYTES) && value->bytes.size > limit) return false;
  }
  return got == 0;
}

/* Read a KeyValue without looking its key up. */
static inline bool read_pair(Slice pair, Slice *key, Value *value, size_t limit) {
  Reader r = reader_of(pair);
  Field f;
  int got, values = 0;
  *key = (Slice){(const uint8_t *)"", 0};
  *value = (Value){T_NULL, {NULL, 0}, 0};
  while ((got = next_field(&r, &f)) > 0) {
    if (f.number == 1) {
      if (f.wire != 2) return false;
      *key = f.bytes;
    } else if (f.number == 2) {
      if (f.wire != 2 || values++ || !read_value(f.bytes, value, limit)) return false;
    } else if (f.number == 3) {
      return false;
    }
  }
  return got == 0;
}

/* orjson.dumps: how very small and very large numbers are written differs between its versions. */
static PyObject *json_dumps;

static bool json_double(Buffer *out, double value) {
  if (isnan(value)) return buffer_add(out, "\"NaN\"", 5);
  if (isinf(value)) return value > 0 ? buffer_add(out, "\"Infinity\"", 10) : buffer_add(out, "\"-Infinity\"", 11);
  double size = fabs(value);
  if (size == 0 || (size >= 1e-4 && size < 1e15)) {
    char *text = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    bool done = text && buffer_add(out, text, strlen(text));
    PyMem_Free(text);
    return done;
  }
  PyObject *number = PyFloat_FromDouble(value);
  PyObject *text = number ? PyObject_CallFunctionObjArgs(json_dumps, number, NULL) : NULL;
  char *bytes;
  Py_ssize_t length;
  bool done = text && PyBytes_AsStringAndSize(text, &bytes, &length) == 0 && buffer_add(out, bytes, (size_t)length);
  Py_XDECREF(number);
  Py_XDECREF(text);
  return done;
}

/* Write a value as JSON; returns its characters, or -1 when unsure. */
static int64_t json_value(Buffer *out, const Value *value, size_t limit, int depth) {
  size_t before = out->size;
  if (depth > MAX_VALUE_DEPTH) return -1;
  switch (value->type) {
    case T_NULL: return buffer_add(out, "null", 4) ? 4 : -1;
    case T_STRING: return json_string(out, value->bytes.data, value->bytes.size);
    case T_BOOL:
      if (!(value->bits ? buffer_add(out, "true", 4) : buffer_add(out, "false", 5))) return -1;
      break;
    case T_INT:
      if (!json_integer(out, (int64_t)value->bits)) return -1;
      break;
    case T_DOUBLE:
      if (!json_double(out, double_of(value->bits))) return -1;
      break;
    case T_BYTES:
      if (!json_base64(out, value->bytes.data, value->bytes.size)) return -1;
      break;
    case T_ARRAY: {
      Reader r = reader_of(value->bytes);
      Field f;
      int got;
      int64_t characters = 2;
      bool first = true;
      if (!buffer_byte(out, '[')) return -1;
      while ((got = next_field(&r, &f)) > 0) {
        Value item;
        if (f.number != 1) continue;
        if (f.wire != 2 || !read_value(f.bytes, &item, limit)) return -1;
        if (!first && !buffer_byte(out, ',')) return -1;
        int64_t more = json_value(out, &item, limit, depth + 1);
        if (more < 0) return -1;
        characters += more + !first;
        first = false;
      }
      return got == 0 && buffer_byte(out, ']') ? characters : -1;
    }
    case T_PAIRS: {
      Reader r = reader_of(value->bytes);
      Field f;
      Slice keys[MAX_PAIRS];
      int got, count = 0;
      int64_t characters = 2;
      if (!buffer_byte(out, '{')) return -1;
      while ((got = next_field(&r, &f)) > 0) {
        Value item;
        if (f.number != 1) continue;
        if (f.wire != 2 || count == MAX_PAIRS || !read_pair(f.bytes, &keys[count], &item, limit)) return -1;
        if (keys[count].size > limit) return -1;
        for (int i = 0; i < count; i++) {
          if (keys[i].size == keys[count].size && !memcmp(keys[i].data, keys[count].data, keys[i].size)) return -1;
        }
        if (count && !buffer_byte(out, ',')) return -1;
        int64_t name = json_string(out, keys[count].data, keys[count].size);
        if (name < 0 || !buffer_byte(out, ':')) return -1;
        int64_t more = json_value(out, &item, limit, depth + 1);
        if (more < 0) return -1;
        characters += name + more + 1 + (count > 0);
        count++;
      }
      return got == 0 && buffer_byte(out, '}') ? characters : -1;
    }
  }
  return (int64_t)(out->size - before);
}

/* The Python value; NULL with an exception set, or without one when unsure. */
static PyObject *python_value(const Value *value, size_t limit, int depth) {
  if (depth > MAX_VALUE_DEPTH) return NULL;
  switch (value->type) {
    case T_NULL: return Py_NewRef(Py_None);
    case T_STRING: return PyUnicode_DecodeUTF8((const char *)value->bytes.data, (Py_ssize_t)value->bytes.size, NULL);
    case T_BOOL: return PyBool_FromLong(value->bits != 0);
    case T_INT: return PyLong_FromLongLong((long long)value->bits);
    case T_DOUBLE: return PyFloat_FromDouble(double_of(value->bits));
    case T_BYTES: return PyBytes_FromStringAndSize((const char *)value->bytes.data, (Py_ssize_t)value->bytes.size);
    case T_ARRAY: {
      PyObject *list = PyList_New(0);
      Reader r = reader_of(value->bytes);
      Field f;
      int got = -1;
      while (list && (got = next_field(&r, &f)) > 0) {
        Value item;
        if (f.number != 1) continue;
        PyObject *one = f.wire == 2 && read_value(f.bytes, &item, limit) ? python_value(&item, limit, depth + 1) : NULL;
        if (!one || PyList_Append(list, one) < 0) Py_CLEAR(list);
        Py_XDECREF(one);
      }
      if (got < 0) Py_CLEAR(list);
      return list;
    }
    case T_PAIRS: {
      PyObject *dict = PyDict_New();
      Reader r = reader_of(value->bytes);
      Field f;
      int got = -1;
      while (dict && (got = next_field(&r, &f)) > 0) {
        Value item;
        Slice name;
        if (f.number != 1) continue;
        PyObject *one = NULL, *key = NULL;
        if (f.wire == 2 && read_pair(f.bytes, &name, &item, limit)) {
          key = PyUnicode_DecodeUTF8((const char *)name.data, (Py_ssize_t)name.size, NULL);
          one = key ? python_value(&item, limit, depth + 1) : NULL;
        }
        if (!one || PyDict_SetItem(dict, key, one) < 0) Py_CLEAR(dict);
        Py_XDECREF(one);
        Py_XDECREF(key);
      }
      if (got < 0) Py_CLEAR(dict);
      return dict;
    }
  }
  return NULL;
}

#endif
