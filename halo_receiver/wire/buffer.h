/* Growing bytes, and the columns made of them.
 *
 * Every function that may allocate returns false when memory is out; nothing is lost then, for the request is decoded
 * by the reference decoder instead.
 */
#ifndef HALO_BUFFER_H
#define HALO_BUFFER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMN_BYTES ((size_t)1 << 30) /* Arrow's offsets are int32 */

typedef struct {
  uint8_t *data;
  size_t size, room;
} Buffer;

/* Large buffers that were given away and came back: a fresh one of 64 MiB costs 16,000 page faults, with every batch. */
#define LARGE ((size_t)1 << 20)
#define MAX_SPARE 6
#define MAX_SPARE_BYTES ((size_t)128 << 20) /* of all */
static Buffer spare[MAX_SPARE];

static void spare_keep(uint8_t *data, size_t room) {
  size_t kept = 0;
  int place = MAX_SPARE;
  for (int i = 0; i < MAX_SPARE; i++) {
    kept += spare[i].room;
    if (!spare[i].data) place = i;
  }
  if (room < LARGE || kept + room > MAX_SPARE_BYTES || place == MAX_SPARE) free(data);
  else spare[place] = (Buffer){data, 0, room};
}

/* Take the smallest that is large enough; NULL when there is none. */
static uint8_t *spare_take(size_t *room) {
  Buffer *best = NULL;
  for (int i = 0; i < MAX_SPARE; i++) {
    if (spare[i].room >= *room && (!best || spare[i].room < best->room)) best = &spare[i];
  }
  if (!best) return NULL;
  uint8_t *data = best->data;
  *room = best->room;
  memset(best, 0, sizeof *best);
  return data;
}

static bool buffer_grow(Buffer *b, size_t more) {
  if (more > MAX_COLUMN_BYTES || b->size + more > MAX_COLUMN_BYTES) return false;
  size_t room = b->room ? b->room : 4096;
  while (room < b->size + more) room *= 2;
  uint8_t *data = room >= LARGE ? spare_take(&room) : NULL;
  if (data) {
    if (b->size) memcpy(data, b->data, b->size);
    free(b->data);
    b->data = data;
    b->room = room;
    return true;
  }
  data = realloc(b->data, room);
  if (!data) return false;
  b->data = data;
  b->room = room;
  return true;
}

static inline bool buffer_reserve(Buffer *b, size_t more) {
  return b->room - b->size >= more || buffer_grow(b, more);
}

static inline bool buffer_add(Buffer *b, const void *data, size_t size) {
  if (!buffer_reserve(b, size)) return false;
  if (size) memcpy(b->data + b->size, data, size);
  b->size += size;
  return true;
}

static inline bool buffer_byte(Buffer *b, uint8_t byte) {
  if (!buffer_reserve(b, 1)) return false;
  b->data[b->size++] = byte;
  return true;
}

static inline void buffer_free(Buffer *b) {
  spare_keep(b->data, b->room);
  memset(b, 0, sizeof *b);
}

/* A column: values of a fixed width, or bytes with int32 ends. `valid` has one byte a row. */
typedef struct {
  Buffer data, ends, valid;
  int64_t rows, nulls;
  struct {
    size_t data, ends, valid;
    int64_t rows, nulls;
  } mark;
} Column;

static inline void column_mark(Column *c) {
  c->mark.data = c->data.size;
  c->mark.ends = c->ends.size;
  c->mark.valid = c->valid.size;
  c->mark.rows = c->rows;
  c->mark.nulls = c->nulls;
}

static inline void column_rollback(Column *c) {
  c->data.size = c->mark.data;
  c->ends.size = c->mark.ends;
  c->valid.size = c->mark.valid;
  c->rows = c->mark.rows;
  c->nulls = c->mark.nulls;
}

static inline void column_free(Column *c) {
  buffer_free(&c->data);
  buffer_free(&c->ends);
  buffer_free(&c->valid);
  memset(c, 0, sizeof *c);
}

static inline bool column_row(Column *c, bool there) {
  c->rows++;
  c->nulls += !there;
  return buffer_byte(&c->valid, there);
}

/* End a row whose bytes are in `data` already. */
static inline bool column_end(Column *c) {
  if (!c->ends.size && !buffer_add(&c->ends, &(int32_t){0}, 4)) return false;
  int32_t end = (int32_t)c->data.size;
  return buffer_add(&c->ends, &end, 4) && column_row(c, true);
}

static inline bool column_text(Column *c, const void *data, size_t size) {
  return buffer_add(&c->data, data, size) && column_end(c);
}

static inline bool column_no_text(Column *c) {
  if (!c->ends.size && !buffer_add(&c->ends, &(int32_t){0}, 4)) return false;
  int32_t end = (int32_t)c->data.size;
  return buffer_add(&c->ends, &end, 4) && column_row(c, false);
}

static inline bool column_text_or_null(Column *c, const void *data, size_t size) {
  return size ? column_text(c, data, size) : column_no_text(c);
}

/* End a row of a list: `items` is how many its child holds by now. */
static inline bool column_list(Column *c, int64_t items, bool there) {
  if (!c->ends.size && !buffer_add(&c->ends, &(int32_t){0}, 4)) return false;
  int32_t end = (int32_t)items;
  return buffer_add(&c->ends, &end, 4) && column_row(c, there);
}

static inline bool column_u32(Column *c, uint32_t value) {
  return buffer_add(&c->data, &value, 4) && column_row(c, true);
}

static inline bool column_i64(Column *c, int64_t value, bool there) {
  return buffer_add(&c->data, &value, 8) && column_row(c, there);
}

static inline bool column_f64(Column *c, double value, bool there) {
  return buffer_add(&c->data, &value, 8) && column_row(c, there);
}

static inline bool column_bool(Column *c, bool value, bool there) {
  return buffer_byte(&c->data, value) && column_row(c, there);
}

#endif
