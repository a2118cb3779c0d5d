/* JSON, read in place, and written again as orjson does. False: damaged, or unusual, and the reference reads it. */
#ifndef HALO_JSON_H
#define HALO_JSON_H

#include "protobuf.h"
#include "text.h"

typedef struct {
  const uint8_t *at, *end;
} Json;

/* Bytes in a buffer, which may move as it grows. */
typedef struct {
  const Buffer *in; /* NULL: there are none */
  size_t at, size;
} Piece;

static inline Slice piece_bytes(Piece piece) {
  return piece.in ? (Slice){piece.in->data + piece.at, piece.size} : (Slice){NULL, 0};
}

/* Step over what needs no look in a string: no control characters, quotes or backslashes. */
static inline const uint8_t *json_run(const uint8_t *p, const uint8_t *end) {
#if defined(__SSE2__) && defined(__GNUC__)
  const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1F);
  for (; end - p >= 16; p += 16) {
    __m128i w = _mm_loadu_si128((const __m128i *)p);
    __m128i stop = _mm_or_si128(_mm_cmpeq_epi8(w, quote), _mm_cmpeq_epi8(w, slash));
    int stops = _mm_movemask_epi8(_mm_or_si128(stop, _mm_cmpeq_epi8(_mm_min_epu8(w, control), w)));
    if (stops) return p + __builtin_ctz((unsigned)stops);
  }
#endif
  while (p < end && *p >= 0x20 && *p != '"' && *p != '\\') p++;
  return p;
}

/* The next character that is no white space; 0 at the end. */
static inline uint8_t json_next(Json *j) {
  while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\r' || *j->at == '\t')) j->at++;
  return j->at < j->end ? *j->at : 0;
}

static inline bool json_take(Json *j, uint8_t wanted) {
  if (json_next(j) != wanted || !wanted) return false;
  j->at++;
  return true;
}

static inline bool json_word(Json *j, const char *word) {
  size_t size = strlen(word);
  if ((size_t)(j->end - j->at) < size || memcmp(j->at, word, size)) return false;
  j->at += size;
  return true;
}

static bool json_hex(Json *j, uint32_t *value) {
  if (j->end - j->at < 4) return false;
  *value = 0;
  for (int i = 0; i < 4; i++) {
    uint8_t c = *j->at++;
    uint32_t digit = c >= '0' && c <= '9' ? c - 48u : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87u : 16u;
    if (digit > 15) return false;
    *value = *value << 4 | digit;
  }
  return true;
}

static bool json_escape(Json *j, Buffer *to) {
  if (j->at == j->end) return false;
  uint8_t c = *j->at++;
  switch (c) {
    case '"': case '\\': case '/': return buffer_byte(to, c);
    case 'b': return buffer_byte(to, '\b');
    case 'f': return buffer_byte(to, '\f');
    case 'n': return buffer_byte(to, '\n');
    case 'r': return buffer_byte(to, '\r');
    case 't': return buffer_byte(to, '\t');
    case 'u': break;
    default: return false;
  }
  uint32_t code, low;
  if (!json_hex(j, &code)) return false;
  if (code >= 0xD800 && code < 0xDC00) {
    if (!json_word(j, "\\u") || !json_hex(j, &low) || low < 0xDC00 || low > 0xDFFF) return false;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xDC00 && code < 0xE000) {
    return false;
  }
  if (!buffer_reserve(to, 4)) return false;
  uint8_t *p = to->data + to->size;
  if (code < 0x80) {
    p[0] = (uint8_t)code;
    to->size += 1;
  } else if (code < 0x800) {
    p[0] = (uint8_t)(0xC0 | code >> 6);
    p[1] = (uint8_t)(0x80 | (code & 63));
    to->size += 2;
  } else if (code < 0x10000) {
    p[0] = (uint8_t)(0xE0 | code >> 12);
    p[1] = (uint8_t)(0x80 | (code >> 6 & 63));
    p[2] = (uint8_t)(0x80 | (code & 63));
    to->size += 3;
  } else {
    p[0] = (uint8_t)(0xF0 | code >> 18);
    p[1] = (uint8_t)(0x80 | (code >> 12 & 63));
    p[2] = (uint8_t)(0x80 | (code >> 6 & 63));
    p[3] = (uint8_t)(0x80 | (code & 63));
    to->size += 4;
  }
  return true;
}

/* Append a string's characters to `to`. The text around it is UTF-8. */
static bool json_text(Json *j, Buffer *to, Piece *piece) {
  if (!json_take(j, '"')) return false;
  size_t start = to->size;
  for (;;) {
    const uint8_t *plain = j->at;
    j->at = json_run(j->at, j->end);
    if (!buffer_add(to, plain, (size_t)(j->at - plain)) || j->at == j->end || *j->at < 0x20) return false;
    if (*j->at++ == '"') break;
    if (!json_escape(j, to)) return false;
  }
  *piece = (Piece){to, start, to->size - start};
  return true;
}

/* Copy a number that orjson writes as it was read: 18 digits of an integer, 15 of a fraction that ends in no zero. */
static bool json_number(Json *j, Buffer *out) {
  const uint8_t *start = j->at;
  bool minus = j->at < j->end && *j->at == '-';
  j->at += minus;
  const uint8_t *digits = j->at;
  while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
  size_t whole = (size_t)(j->at - digits);
  bool zero = whole && digits[0] == '0';
  if (!whole || whole > 18 || (zero && whole > 1)) return false;
  if (j->at < j->end && *j->at == '.') {
    const uint8_t *fraction = ++j->at;
    while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
    size_t places = (size_t)(j->at - fraction);
    if (!places || whole + places > 15 || (places > 1 && fraction[places - 1] == '0')) return false;
    if (zero && places > 3 && !memcmp(fraction, "000", 3)) return false; /* written with an exponent */
  } else if (zero && minus) {
    return false;
  }
  if (j->at < j->end && (*j->at | 32) == 'e') return false;
  return buffer_add(out, start, (size_t)(j->at - start));
}

#endif
