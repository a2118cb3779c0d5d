/* UTF-8 and JSON: validation, and the writing of strings as orjson writes them. */
#ifndef HALO_TEXT_H
#define HALO_TEXT_H

#if defined(__SSE2__) && defined(__GNUC__)
#include <emmintrin.h>
#endif

#include "buffer.h"

#define ONES 0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL

static inline uint64_t load8(const uint8_t *p) {
  uint64_t word;
  memcpy(&word, p, 8);
  return word;
}

/* Non-zero when one of eight bytes is below 0x20, a quote, a backslash, or not ASCII. */
static inline uint64_t needs_care(uint64_t w) {
  uint64_t quote = w ^ (ONES * '"'), slash = w ^ (ONES * '\\');
  return (w | (w - ONES * 0x20) | (quote - ONES) | (slash - ONES)) & HIGHS;
}

/* Step over ASCII that JSON writes as it is. */
static inline const uint8_t *plain_run(const uint8_t *p, const uint8_t *end) {
#if defined(__SSE2__) && defined(__GNUC__)
  const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x20);
  for (; end - p >= 16; p += 16) {
    __m128i w = _mm_loadu_si128((const __m128i *)p);
    __m128i stop = _mm_or_si128(_mm_cmpeq_epi8(w, quote), _mm_cmpeq_epi8(w, slash));
    int stops = _mm_movemask_epi8(_mm_or_si128(stop, _mm_cmplt_epi8(w, control))); /* signed: beyond ASCII is below */
    if (stops) return p + __builtin_ctz((unsigned)stops);
  }
#endif
  while (end - p >= 8 && !needs_care(load8(p))) p += 8;
  while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
}

/* Length of the valid UTF-8 sequence of a character beyond ASCII, 0 when there is none. */
static inline size_t utf8_length(const uint8_t *p, const uint8_t *end) {
  uint8_t a = p[0];
  size_t left = (size_t)(end - p);
  if (a < 0xC2) return 0;
  if (a < 0xE0) return left >= 2 && (p[1] & 0xC0) == 0x80 ? 2 : 0;
  if (a < 0xF0) {
    if (left < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
    if (a == 0xE0 && p[1] < 0xA0) return 0;
    if (a == 0xED && p[1] >= 0xA0) return 0;
    return 3;
  }
  if (a > 0xF4 || left < 4) return 0;
  if ((p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80) return 0;
  if (a == 0xF0 && p[1] < 0x90) return 0;
  if (a == 0xF4 && p[1] >= 0x90) return 0;
  return 4;
}

static inline bool utf8_valid(const uint8_t *p, size_t size) {
  const uint8_t *end = p + size;
  while (p < end) {
    if (end - p >= 32 && !((load8(p) | load8(p + 8) | load8(p + 16) | load8(p + 24)) & HIGHS)) {
      p += 32;
    } else if (end - p >= 8 && !(load8(p) & HIGHS)) {
      p += 8;
    } else if (*p < 0x80) {
      p++;
    } else {
      size_t length = utf8_length(p, end);
      if (!length) return false;
      p += length;
    }
  }
  return true;
}

/* Write a JSON string with its quotes. Returns how many characters it has, or -1: not UTF-8, or no memory. */
static inline int64_t json_string(Buffer *out, const uint8_t *p, size_t size) {
  static const char hex[] = "0123456789abcdef";
  const uint8_t *end = p + size;
  if (size > MAX_COLUMN_BYTES / 8 || !buffer_reserve(out, size + 2)) return -1;
  int64_t characters = 2;
  out->data[out->size++] = '"';
  while (p < end) {
    const uint8_t *plain = p;
    p = plain_run(p, end);
    if (p > plain) {
      if (!buffer_add(out, plain, (size_t)(p - plain))) return -1;
      characters += p - plain;
    }
    if (p == end) break;
    if (*p >= 0x80) {
      size_t length = utf8_length(p, end);
      if (!length || !buffer_add(out, p, length)) return -1;
      characters++;
      p += length;
      continue;
    }
    uint8_t c = *p++;
    if (!buffer_reserve(out, 6)) return -1;
    uint8_t *to = out->data + out->size;
    to[0] = '\\';
    switch (c) {
      case '"': to[1] = '"'; break;
      case '\\': to[1] = '\\'; break;
      case '\b': to[1] = 'b'; break;
      case '\t': to[1] = 't'; break;
      case '\n': to[1] = 'n'; break;
      case '\f': to[1] = 'f'; break;
      case '\r': to[1] = 'r'; break;
      default:
        memcpy(to + 1, "u00", 3);
        to[4] = (uint8_t)hex[c >> 4];
        to[5] = (uint8_t)hex[c & 15];
        out->size += 6;
        characters += 6;
        continue;
    }
    out->size += 2;
    characters += 2;
  }
  if (!buffer_byte(out, '"')) return -1;
  return characters;
}

static inline bool json_integer(Buffer *out, int64_t value) {
  char digits[24];
  int at = 24;
  uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  do {
    digits[--at] = (char)('0' + left % 10);
    left /= 10;
  } while (left);
  if (value < 0) digits[--at] = '-';
  return buffer_add(out, digits + at, (size_t)(24 - at));
}

static inline bool json_base64(Buffer *out, const uint8_t *p, size_t size) {
  static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (!buffer_reserve(out, (size + 2) / 3 * 4 + 2)) return false;
  uint8_t *to = out->data + out->size;
  *to++ = '"';
  for (; size >= 3; p += 3, size -= 3) {
    *to++ = (uint8_t)set[p[0] >> 2];
    *to++ = (uint8_t)set[(p[0] & 3) << 4 | p[1] >> 4];
    *to++ = (uint8_t)set[(p[1] & 15) << 2 | p[2] >> 6];
    *to++ = (uint8_t)set[p[2] & 63];
  }
  if (size) {
    uint8_t second = size == 2 ? p[1] : 0;
    *to++ = (uint8_t)set[p[0] >> 2];
    *to++ = (uint8_t)set[(p[0] & 3) << 4 | second >> 4];
    *to++ = size == 2 ? (uint8_t)set[(second & 15) << 2] : '=';
    *to++ = '=';
  }
  *to++ = '"';
  out->size = (size_t)(to - out->data);
  return true;
}

static inline void hex_id(uint8_t *to, const uint8_t *id, size_t size) {
  static const char hex[] = "0123456789abcdef";
  for (size_t i = 0; i < size; i++) {
    to[2 * i] = (uint8_t)hex[id[i] >> 4];
    to[2 * i + 1] = (uint8_t)hex[id[i] & 15];
  }
}

#endif
