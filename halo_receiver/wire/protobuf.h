/* The wire format of OTLP's messages, read in place. Whatever is unusual makes the caller unsure, never wrong.
 *
 * Source: protobuf encoding; opentelemetry/proto/{trace,logs,common,resource}/v1.
 */
#ifndef HALO_PROTOBUF_H
#define HALO_PROTOBUF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MAX_MESSAGES 5000000 /* in one request: check.MAX_MESSAGES */
#define MAX_NESTING 48 /* messages in messages; the reference parser takes 100 */

typedef struct {
  const uint8_t *data;
  size_t size;
} Slice;

typedef struct {
  const uint8_t *at, *end;
} Reader;

typedef struct {
  uint32_t number;
  int wire;       /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32 */
  uint64_t value; /* of 0, 1 and 5 */
  Slice bytes;    /* of 2 */
} Field;

static inline Reader reader_of(Slice s) { return (Reader){s.data, s.data + s.size}; }

static inline bool read_varint(Reader *r, uint64_t *value) {
  uint64_t result = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (r->at == r->end) return false;
    uint8_t byte = *r->at++;
    if (shift == 63 && byte > 1) return false;
    result |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) {
      *value = result;
      return true;
    }
  }
  return false;
}

/* Read the next field. Returns 1, 0 at the end, -1 when it is damaged or unusual. */
static inline int next_field(Reader *r, Field *f) {
  if (r->at == r->end) return 0;
  uint64_t tag;
  if (*r->at < 0x80) {
    tag = *r->at++;
  } else if (!read_varint(r, &tag) || tag > UINT32_MAX) {
    return -1;
  }
  f->number = (uint32_t)(tag >> 3);
  f->wire = (int)(tag & 7);
  size_t left = (size_t)(r->end - r->at);
  if (!f->number) return -1;
  switch (f->wire) {
    case 0: return read_varint(r, &f->value) ? 1 : -1;
    case 1:
      if (left < 8) return -1;
      f->value = 0;
      for (int i = 7; i >= 0; i--) f->value = f->value << 8 | r->at[i];
      r->at += 8;
      return 1;
    case 2: {
      uint64_t size;
      if (!read_varint(r, &size)) return -1;
      if (size > (uint64_t)(r->end - r->at)) return -1;
      f->bytes = (Slice){r->at, (size_t)size};
      r->at += size;
      return 1;
    }
    case 5:
      if (left < 4) return -1;
      f->value = (uint32_t)r->at[0] | (uint32_t)r->at[1] << 8 | (uint32_t)r->at[2] << 16 | (uint32_t)r->at[3] << 24;
      r->at += 4;
      return 1;
    default: return -1; /* groups */
  }
}

static bool all_zero(Slice id) {
  for (size_t i = 0; i < id.size; i++) {
    if (id.data[i]) return false;
  }
  return true;
}

/* Messages of OTLP, for the walk that checks a whole request. */
enum {
  M_NONE, M_REQUEST, M_RESOURCE_GROUP, M_RESOURCE, M_ENTITY, M_SCOPE_GROUP, M_SCOPE, M_SPAN, M_EVENT, M_LINK, M_STATUS,
  M_LOG, M_PAIR, M_VALUE, M_ARRAY, M_PAIRS, M_COUNT
};

typedef struct {
  uint8_t wire; /* 1 + wire type; 0: unknown field */
  uint8_t message;
} Shape;

#define V {1, 0}
#define F8 {2, 0}
#define B {3, 0}
#define M(name) {3, name}
#define F4 {6, 0}

static const Shape SHAPES[M_COUNT][20] = {
    [M_REQUEST] = {[1] = M(M_RESOURCE_GROUP)},
    [M_RESOURCE_GROUP] = {[1] = M(M_RESOURCE), [2] = M(M_SCOPE_GROUP), [3] = B},
    [M_RESOURCE] = {[1] = M(M_PAIR), [2] = V, [3] = M(M_ENTITY)},
    [M_ENTITY] = {[1] = B, [2] = B, [3] = B, [4] = B},
    [M_SCOPE_GROUP] = {[1] = M(M_SCOPE), [2] = M(M_NONE), [3] = B}, /* 2: M_SPAN or M_LOG */
    [M_SCOPE] = {[1] = B, [2] = B, [3] = M(M_PAIR), [4] = V},
    [M_SPAN] = {[1] = B, [2] = B, [3] = B, [4] = B, [5] = B, [6] = V, [7] = F8, [8] = F8, [9] = M(M_PAIR), [10] = V,
                [11] = M(M_EVENT), [12] = V, [13] = M(M_LINK), [14] = V, [15] = M(M_STATUS), [16] = F4},
    [M_EVENT] = {[1] = F8, [2] = B, [3] = M(M_PAIR), [4] = V},
    [M_LINK] = {[1] = B, [2] = B, [3] = B, [4] = M(M_PAIR), [5] = V, [6] = F4},
    [M_STATUS] = {[2] = B, [3] = V},
    [M_LOG] = {[1] = F8, [2] = V, [3] = B, [5] = M(M_VALUE), [6] = M(M_PAIR), [7] = V, [8] = F4, [9] = B, [10] = B,
               [11] = F8, [12] = B},
    [M_PAIR] = {[1] = B, [2] = M(M_VALUE), [3] = V},
    [M_VALUE] = {[1] = B, [2] = V, [3] = V, [4] = F8, [5] = M(M_ARRAY), [6] = M(M_PAIRS), [7] = B, [8] = V},
    [M_ARRAY] = {[1] = M(M_VALUE)},
    [M_PAIRS] = {[1] = M(M_PAIR)},
};

#undef V
#undef F8
#undef B
#undef M
#undef F4

/* What a walk has seen: too many empty messages are refused before they are built. */
typedef struct {
  uint64_t messages, fields, max_fields;
} Walk;

static inline bool walk_field(Walk *w) { return ++w->fields <= w->max_fields; }

/* Walk a message and all in it: true when the reference parser would take it, false when that is not sure. */
static bool message_holds(Walk *w, Slice message, int kind, int depth) {
  Reader r = reader_of(message);
  Field f;
  int got;
  if (depth > MAX_NESTING || ++w->messages > MAX_MESSAGES || !walk_field(w)) return false;
  while ((got = next_field(&r, &f)) > 0) {
    if (!walk_field(w)) return false;
    if (f.number >= 20) continue;
    Shape shape = SHAPES[kind][f.number];
    if (!shape.wire) continue;
    if (shape.wire != f.wire + 1) return false;
    if (shape.message && !message_holds(w, f.bytes, shape.message, depth + 1)) return false;
  }
  return got == 0;
}

#endif
