/* What Python plans for spans of one shape (scope, service, attribute keys, names of events): conventions/plans.py,
 * asked once for a shape and once for each type of span in it, and kept here so that a span costs no look at the mapping.
 */
#ifndef HALO_PLAN_H
#define HALO_PLAN_H

#include "scanner.h"

/* The fields that C fills, as plans.py names them. */
#define FIELDS(X)                                                                                                        \
  X(MODEL, "model") X(AGENT, "agent_name") X(SESSION, "session_id") X(USER, "user_id") X(TOOL, "tool_name")              \
  X(CALL, "tool_call_id") X(PROVIDER, "provider") X(TOOLS, "tool_definitions") X(OUTPUT_TYPE, "output_type")             \
  X(SYSTEM, "system_messages") X(ASKED, "input_messages") X(ANSWERED, "output_messages") X(INPUT, "input_text")          \
  X(OUTPUT, "output_text") X(REASON, "finish_reason") X(MAX_OUTPUT, "max_output_tokens") X(READ, "input_tokens")         \
  X(WRITTEN, "output_tokens") X(CACHED, "cached_tokens") X(CACHE_WRITTEN, "cache_write_tokens")                          \
  X(REASONING, "reasoning_tokens") X(COST, "cost") X(COST_PARTS, "cost_parts") X(BESIDE, "cached_beside_input")          \
  X(FAILURES, "error_when")
#define FIELD_NUMBER(name, text) F_##name,
#define FIELD_TEXT(name, text) text,
enum { FIELDS(FIELD_NUMBER) FIELD_COUNT };
static const char *const FIELD_NAMES[FIELD_COUNT] = {FIELDS(FIELD_TEXT)};

/* How a source of sources.py is read; what stands behind its name in what it plans. */
#define WAYS(X)                                                                                                          \
  X(PYTHON, "python") X(KEY, "key") X(MEMBER, "member") X(NAME, "name") X(LITERAL, "literal") X(RESOURCE, "resource")    \
  X(EVENT, "event") X(STRIP, "strip") X(SOLE, "sole") X(FLAT, "flat") X(EVENTS, "events") X(CHOICES, "choices")          \
  X(OBJECT, "only_object") X(ANSWER, "answer")
#define WAY_NUMBER(name, text) BY_##name,
enum { WAYS(WAY_NUMBER) WAY_COUNT };
static const char *const WAY_NAMES[WAY_COUNT] = {WAYS(FIELD_TEXT)};

#define MAX_SOURCES 64 /* of a field */
#define MAX_SOURCE_TEXTS 5
#define NOWHERE UINT32_MAX

typedef struct {
  int way;
  PyObject *source; /* to ask in Python; borrowed from the plan, as all objects here */
  PyObject *roles;  /* of events, by name */
  bool wanted;      /* choices: the answer */
  Slice texts[MAX_SOURCE_TEXTS];     /* what else was planned: keys, names, a prefix */
  uint32_t places[MAX_SOURCE_TEXTS]; /* of the attributes with those keys, or NOWHERE */
  Path *paths; /* of a member */
  int path_count;
} Source;

typedef struct {
  Source *sources;
  int count;
  PyObject *call; /* what makes the field of one value */
  PyObject *ask;  /* what makes the field of a reading */
} Planned;

enum { IS_TOOL = 1, IS_LLM = 2, IS_PRICED = 4, COUNTS_APART = 8, EXCEPTION_FAILS = 16 };

typedef struct {
  PyObject *type; /* of the spans, or None */
  PyObject *made; /* by Python: (fields, flags) */
  Planned fields[FIELD_COUNT];
  long flags;
} Plan;

/* One way to tell the type, in order; what plans.py says: (key, upper, values), (None, prefix, type) or (None, None, values). */
typedef struct {
  uint32_t place; /* of the attribute; NOWHERE: the span's name tells */
  bool upper;
  Slice prefix;
  PyObject *values; /* {value: type}, or the type itself */
} TypeWay;

#define MAX_PLANS 24 /* types of spans, and none */
#define MAX_TYPE_WAYS 32
#define MAX_SHAPE_PARTS 256 /* keys and events */
#define MAX_SHAPES 1024
#define SHAPE_SLOTS 4096

typedef struct {
  Slice signature; /* owned */
  uint32_t hash;
  PyObject *planner;    /* plans.Planner; NULL: Python reads these spans */
  PyObject *convention; /* its name or None, owned */
  PyObject *otherwise;  /* the type where no way tells, owned */
  PyObject *ways;       /* owned, with all that `types` borrows */
  TypeWay *types;
  int type_count;
  bool json_values;
  Plan *plans;
  int plan_count;
} SpanShape;

struct Shapes {
  SpanShape *all;
  uint32_t count;
  uint16_t slots[SHAPE_SLOTS]; /* 1 + index */
  uint32_t once[SHAPE_SLOTS];  /* hashes of shapes that were met and not planned */
  Buffer signature;            /* of the span being read */
};

static void plan_free(Plan *plan) {
  for (int f = 0; f < FIELD_COUNT; f++) {
    for (int i = 0; i < plan->fields[f].count; i++) free(plan->fields[f].sources[i].paths);
    free(plan->fields[f].sources);
  }
  Py_CLEAR(plan->type);
  Py_CLEAR(plan->made);
}

static void shape_free(SpanShape *shape) {
  for (int i = 0; i < shape->plan_count; i++) plan_free(&shape->plans[i]);
  free(shape->plans);
  free(shape->types);
  free((void *)(uintptr_t)shape->signature.data);
  Py_CLEAR(shape->planner);
  Py_CLEAR(shape->convention);
  Py_CLEAR(shape->otherwise);
  Py_CLEAR(shape->ways);
  memset(shape, 0, sizeof *shape);
}

static void shapes_forget(Shapes *shapes) {
  for (uint32_t i = 0; i < shapes->count; i++) shape_free(&shapes->all[i]);
  shapes->count = 0;
  memset(shapes->slots, 0, sizeof shapes->slots);
}

static Shapes *shapes_make(void) {
  Shapes *shapes = calloc(1, sizeof *shapes);
  if (!shapes) return NULL;
  shapes->all = calloc(MAX_SHAPES, sizeof *shapes->all);
  if (shapes->all) return shapes;
  free(shapes);
  return NULL;
}

static void shapes_free(Shapes *shapes) {
  if (!shapes) return;
  shapes_forget(shapes);
  buffer_free(&shapes->signature);
  free(shapes->all);
  free(shapes);
}

/* ---- what Python plans, compiled */

static uint32_t place_of(const Scanner *s, size_t own, Slice key) {
  for (size_t i = 0; i < own; i++) {
    Slice text = s->attributes[i].key->text;
    if (text.size == key.size && !memcmp(text.data, key.data, key.size)) return (uint32_t)i;
  }
  return NOWHERE;
}

static bool source_compile(const Scanner *s, size_t own, PyObject *given, Source *source) {
  Slice way;
  Py_ssize_t size = PyTuple_Check(given) ? PyTuple_Size(given) : 0;
  if (size < 2 || size > 2 + MAX_SOURCE_TEXTS || !python_text(PyTuple_GetItem(given, 0), &way)) return false;
  while (source->way < WAY_COUNT && !is_text(way, WAY_NAMES[source->way])) source->way++;
  if (source->way == WAY_COUNT) return false;
  source->source = PyTuple_GetItem(given, 1);
  for (int i = 0; i < MAX_SOURCE_TEXTS; i++) {
    PyObject *item = i + 2 < size ? PyTuple_GetItem(given, i + 2) : Py_None;
    source->places[i] = NOWHERE;
    if (python_text(item, &source->texts[i])) {
      source->places[i] = place_of(s, own, source->texts[i]);
    } else if (PyBool_Check(item)) {
      source->wanted = item == Py_True;
    } else if (PyDict_Check(item)) {
      source->roles = item;
    } else if (PyTuple_Check(item)) {
      source->paths = calloc(MAX_PATHS, sizeof *source->paths);
      source->path_count = source->paths ? paths_read(item, source->paths) : -1;
      if (source->path_count < 0) return false;
    } else if (item != Py_None) {
      return false;
    }
  }
  bool complete = source->way == BY_PYTHON || source->way == BY_NAME || source->texts[0].data;
  if (source->way == BY_MEMBER) complete = complete && source->paths;
  if (source->way == BY_EVENTS) complete = complete && source->roles;
  if (source->way == BY_EVENT || source->way == BY_SOLE) complete = complete && source->texts[1].data;
  if (source->way == BY_ANSWER) complete = complete && source->texts[MAX_SOURCE_TEXTS - 1].data;
  return complete;
}

/* (sources, call, ask) */
static bool field_compile(const Scanner *s, size_t own, PyObject *given, Planned *field) {
  PyObject *sources = PyTuple_Check(given) && PyTuple_Size(given) == 3 ? PyTuple_GetItem(given, 0) : NULL;
  Py_ssize_t count = sources && PyTuple_Check(sources) ? PyTuple_Size(sources) : -1;
  if (count < 0 || count > MAX_SOURCES) return false;
  field->sources = calloc((size_t)count + 1, sizeof *field->sources);
  if (!field->sources) return false;
  field->count = (int)count;
  field->call = PyTuple_GetItem(given, 1);
  field->ask = PyTuple_GetItem(given, 2);
  for (Py_ssize_t i = 0; i < count; i++) {
    if (!source_compile(s, own, PyTuple_GetItem(sources, i), &field->sources[i])) return false;
  }
  return true;
}

static bool plan_compile(const Scanner *s, size_t own, Plan *plan) {
  PyObject *fields = PyTuple_Check(plan->made) && PyTuple_Size(plan->made) == 2 ? PyTuple_GetItem(plan->made, 0) : NULL;
  if (!fields || !PyDict_Check(fields)) return false;
  plan->flags = PyLong_AsLong(PyTuple_GetItem(plan->made, 1));
  if (plan->flags == -1) return false;
  PyObject *name, *given;
  Py_ssize_t at = 0;
  Slice text;
  while (PyDict_Next(fields, &at, &name, &given)) {
    int field = 0;
    if (!python_text(name, &text)) return false;
    while (field < FIELD_COUNT && !is_text(text, FIELD_NAMES[field])) field++;
    if (field == FIELD_COUNT || !field_compile(s, own, given, &plan->fields[field])) return false;
  }
  return true;
}

static bool type_compile(const Scanner *s, size_t own, PyObject *given, TypeWay *way) {
  Slice key;
  if (!PyTuple_Check(given) || PyTuple_Size(given) != 3) return false;
  PyObject *first = PyTuple_GetItem(given, 0), *second = PyTuple_GetItem(given, 1);
  way->values = PyTuple_GetItem(given, 2);
  way->place = NOWHERE;
  if (first == Py_None) {
    if (second == Py_None) return PyDict_Check(way->values);
    return python_text(second, &way->prefix) && PyUnicode_Check(way->values);
  }
  if (!python_text(first, &key) || !PyDict_Check(way->values)) return false;
  way->upper = second == Py_True;
  way->place = place_of(s, own, key);
  return way->place != NOWHERE;
}

static bool shape_compile(const Scanner *s, size_t own, SpanShape *shape) {
  PyObject *json_values = PyObject_GetAttrString(shape->planner, "json_values");
  shape->convention = PyObject_GetAttrString(shape->planner, "convention");
  shape->otherwise = PyObject_GetAttrString(shape->planner, "otherwise");
  shape->ways = PyObject_GetAttrString(shape->planner, "ways");
  shape->json_values = json_values == Py_True;
  Py_XDECREF(json_values);
  Py_ssize_t count = shape->ways && PyTuple_Check(shape->ways) ? PyTuple_Size(shape->ways) : -1;
  if (!json_values || !shape->convention || !shape->otherwise || count < 0 || count > MAX_TYPE_WAYS) return false;
  shape->types = calloc((size_t)count + 1, sizeof *shape->types);
  shape->plans = calloc(MAX_PLANS, sizeof *shape->plans);
  if (!shape->types || !shape->plans) return false;
  shape->type_count = (int)count;
  for (Py_ssize_t i = 0; i < count; i++) {
    if (!type_compile(s, own, PyTuple_GetItem(shape->ways, i), &shape->types[i])) return false;
  }
  return true;
}

/* ---- looking them up */

static bool sign(Buffer *to, Slice text) {
  uint32_t size = (uint32_t)text.size;
  return buffer_add(to, &size, 4) && buffer_add(to, text.data, text.size);
}

/* Ask Python for what the spans of a shape are; what it cannot plan, it reads itself. */
static void shape_learn(Scanner *s, size_t own, PyObject *scope, const Slice *events, size_t event_count,
                        SpanShape *shape) {
  PyObject *keys = PyTuple_New((Py_ssize_t)own), *names = PyTuple_New((Py_ssize_t)event_count);
  bool done = keys && names;
  for (size_t i = 0; done && i < own; i++) {
    done = !PyTuple_SetItem(keys, (Py_ssize_t)i, Py_NewRef(s->attributes[i].key->string));
  }
  for (size_t i = 0; done && i < event_count; i++) {
    PyObject *name = PyUnicode_DecodeUTF8((const char *)events[i].data, (Py_ssize_t)events[i].size, NULL);
    done = name && !PyTuple_SetItem(names, (Py_ssize_t)i, name);
  }
  shape->planner = done ? PyObject_CallFunctionObjArgs(s->plan, scope, keys, names, NULL) : NULL;
  Py_XDECREF(keys);
  Py_XDECREF(names);
  if (!shape->planner || shape->planner == Py_None || !shape_compile(s, own, shape)) Py_CLEAR(shape->planner);
  PyErr_Clear();
}

/* The shape of the span being read, whose attributes are on the stack; NULL: new, too large, or no memory. */
static SpanShape *shape_find(Scanner *s, size_t own, PyObject *scope, Slice scope_name, Slice service,
                             const Slice *events, size_t event_count) {
  Shapes *shapes = s->shapes;
  Buffer *signature = &shapes->signature;
  signature->size = 0;
  if (own + event_count > MAX_SHAPE_PARTS || !buffer_add(signature, &(uint32_t){(uint32_t)own}, 4) ||
      !sign(signature, scope_name) || !sign(signature, service)) return NULL;
  for (size_t i = 0; i < own; i++) {
    uint32_t key = (uint32_t)(s->attributes[i].key - s->known.all);
    if (!buffer_add(signature, &key, 4)) return NULL;
  }
  for (size_t i = 0; i < event_count; i++) {
    if (!sign(signature, events[i])) return NULL;
  }
  uint32_t hash = hash_of(signature->data, signature->size), slot = hash & (SHAPE_SLOTS - 1);
  for (; shapes->slots[slot]; slot = (slot + 1) & (SHAPE_SLOTS - 1)) {
    SpanShape *shape = &shapes->all[shapes->slots[slot] - 1];
    if (shape->hash == hash && shape->signature.size == signature->size &&
        !memcmp(shape->signature.data, signature->data, signature->size))
      return shape;
  }
  uint32_t *once = &shapes->once[hash & (SHAPE_SLOTS - 1)];
  if (*once != hash) { /* a sender may put ids into keys: a plan costs more than a span */
    *once = hash;
    return NULL;
  }
  if (shapes->count == MAX_SHAPES) {
    shapes_forget(shapes);
    slot = hash & (SHAPE_SLOTS - 1);
  }
  uint8_t *copy = malloc(signature->size);
  if (!copy) return NULL;
  memcpy(copy, signature->data, signature->size);
  SpanShape *shape = &shapes->all[shapes->count];
  *shape = (SpanShape){.signature = {copy, signature->size}, .hash = hash};
  shapes->slots[slot] = (uint16_t)++shapes->count;
  shape_learn(s, own, scope, events, event_count, shape);
  return shape;
}

/* The plan for spans of a type; NULL when Python must read them. */
static Plan *plan_find(Scanner *s, size_t own, SpanShape *shape, PyObject *type) {
  for (int i = 0; i < shape->plan_count; i++) {
    Plan *plan = &shape->plans[i];
    if (plan->type == type || (PyUnicode_Check(type) && PyUnicode_Check(plan->type) && !PyUnicode_Compare(plan->type, type)))
      return plan->made != Py_None ? plan : NULL;
  }
  if (shape->plan_count == MAX_PLANS) return NULL;
  PyObject *made = PyObject_CallMethod(shape->planner, "plan", "O", type);
  Plan *plan = &shape->plans[shape->plan_count++];
  *plan = (Plan){.type = Py_NewRef(type), .made = made ? made : Py_NewRef(Py_None)};
  bool done = made && made != Py_None && plan_compile(s, own, plan);
  PyErr_Clear();
  if (done) return plan;
  plan_free(plan);
  *plan = (Plan){.type = Py_NewRef(type), .made = Py_NewRef(Py_None)};
  return NULL;
}

#endif
