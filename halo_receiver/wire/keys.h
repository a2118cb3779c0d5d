/* Attribute keys repeat endlessly: each is validated, escaped and asked about once. */
#ifndef HALO_KEYS_H
#define HALO_KEYS_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include "protobuf.h"
#include "text.h"

#define MAX_KEYS 20000 /* a sender may put ids into keys: then they are forgotten, and learned again */
#define MAX_KEY_BYTES 1024
#define KEY_SLOTS 65536

typedef struct {
  Slice text;       /* as sent, owned */
  Slice json;       /* with quotes, owned */
  PyObject *string; /* owned */
  uint32_t hash;
  uint32_t seen; /* the last group of attributes it was in: twice in one is a duplicate */
  int32_t flags; /* what `describe` said */
} Key;

typedef struct {
  Key *all;
  uint32_t count;
  uint32_t group;
  int32_t *slots; /* 1 + index, 0 when free */
  PyObject *describe;
} Keys;

static inline uint32_t hash_of(const uint8_t *p, size_t size) {
  uint64_t hash = 0x9E3779B97F4A7C15ULL ^ size;
  for (; size >= 8; p += 8, size -= 8) {
    hash = (hash ^ load8(p)) * 0xff51afd7ed558ccdULL;
    hash ^= hash >> 32;
  }
  for (; size; p++, size--) hash = (hash ^ *p) * 0x100000001b3ULL;
  return (uint32_t)(hash ^ hash >> 29);
}

static void keys_forget(Keys *keys) {
  for (uint32_t i = 0; i < keys->count; i++) {
    free((void *)keys->all[i].text.data);
    free((void *)keys->all[i].json.data);
    Py_XDECREF(keys->all[i].string);
  }
  keys->count = 0;
  keys->group = 0;
  if (keys->slots) memset(keys->slots, 0, KEY_SLOTS * sizeof *keys->slots);
}

static bool keys_make(Keys *keys, PyObject *describe) {
  keys->all = calloc(MAX_KEYS, sizeof *keys->all);
  keys->slots = calloc(KEY_SLOTS, sizeof *keys->slots);
  keys->describe = Py_NewRef(describe);
  return keys->all && keys->slots;
}

static void keys_free(Keys *keys) {
  keys_forget(keys);
  free(keys->all);
  free(keys->slots);
  Py_CLEAR(keys->describe);
  memset(keys, 0, sizeof *keys);
}

static Key *key_learn(Keys *keys, Slice text, uint32_t hash, uint32_t slot) {
  if (keys->count >= MAX_KEYS || text.size > MAX_KEY_BYTES || !utf8_valid(text.data, text.size)) return NULL;
  Key *key = &keys->all[keys->count];
  memset(key, 0, sizeof *key);
  Buffer json = {0};
  uint8_t *copy = malloc(text.size + 1);
  key->string = PyUnicode_DecodeUTF8((const char *)text.data, (Py_ssize_t)text.size, NULL);
  if (key->string) PyUnicode_InternInPlace(&key->string);
  PyObject *said = key->string ? PyObject_CallFunctionObjArgs(keys->describe, key->string, NULL) : NULL;
  long flags = said ? PyLong_AsLong(said) : -1;
  Py_XDECREF(said);
  if (!copy || !said || (flags == -1 && PyErr_Occurred()) || json_string(&json, text.data, text.size) < 0) {
    free(copy);
    buffer_free(&json);
    Py_CLEAR(key->string);
    return NULL;
  }
  if (text.size) memcpy(copy, text.data, text.size);
  key->text = (Slice){copy, text.size};
  key->json = (Slice){json.data, json.size};
  key->hash = hash;
  key->flags = (int32_t)flags;
  keys->count++;
  keys->slots[slot] = (int32_t)keys->count;
  return key;
}

/* Find a key, or learn it. NULL when it cannot be, or Python raised. */
static inline Key *key_find(Keys *keys, Slice text) {
  uint32_t hash = hash_of(text.data, text.size);
  uint32_t slot = hash & (KEY_SLOTS - 1);
  for (; keys->slots[slot]; slot = (slot + 1) & (KEY_SLOTS - 1)) {
    Key *key = &keys->all[keys->slots[slot] - 1];
    if (key->hash == hash && key->text.size == text.size && !memcmp(key->text.data, text.data, text.size)) return key;
  }
  return key_learn(keys, text, hash, slot);
}

#endif
