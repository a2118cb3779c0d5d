/* zlib's CRC-32, by carry-less multiplication where the processor has it: 7 kB spans are checksummed twice each.
 *
 * Source: Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009, whose
 * constants for the reflected polynomial 0x1DB710641 these are.
 */
#ifndef HALO_CRC_H
#define HALO_CRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

static uint32_t crc_table[8][256];

static void crc_make_table(void) {
  for (uint32_t n = 0; n < 256; n++) {
    uint32_t c = n;
    for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
    crc_table[0][n] = c;
  }
  for (uint32_t n = 0; n < 256; n++) {
    for (int t = 1; t < 8; t++) crc_table[t][n] = crc_table[t - 1][n] >> 8 ^ crc_table[0][crc_table[t - 1][n] & 0xFF];
  }
}

/* `crc` is inverted already. */
static uint32_t crc_plain(uint32_t crc, const uint8_t *p, size_t size) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  for (; size >= 8; p += 8, size -= 8) {
    uint64_t w = load8(p) ^ crc;
    crc = crc_table[7][w & 0xFF] ^ crc_table[6][w >> 8 & 0xFF] ^ crc_table[5][w >> 16 & 0xFF] ^
          crc_table[4][w >> 24 & 0xFF] ^ crc_table[3][w >> 32 & 0xFF] ^ crc_table[2][w >> 40 & 0xFF] ^
          crc_table[1][w >> 48 & 0xFF] ^ crc_table[0][w >> 56];
  }
#endif
  for (; size; p++, size--) crc = crc_table[0][(crc ^ *p) & 0xFF] ^ crc >> 8;
  return crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_FOLDING 1

/* At least 64 bytes, a multiple of 16; `crc` is inverted already. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t crc_folded(uint32_t crc, const uint8_t *p, size_t size) {
  const __m128i k12 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), k34 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
  const __m128i *at = (const __m128i *)p;
  __m128i a = _mm_loadu_si128(at), b = _mm_loadu_si128(at + 1), c = _mm_loadu_si128(at + 2), d = _mm_loadu_si128(at + 3);
  a = _mm_xor_si128(a, _mm_cvtsi32_si128((int)crc));
#define FOLD(x, k, next) \
  _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), next)
  for (at += 4, size -= 64; size >= 64; at += 4, size -= 64) {
    a = FOLD(a, k12, _mm_loadu_si128(at));
    b = FOLD(b, k12, _mm_loadu_si128(at + 1));
    c = FOLD(c, k12, _mm_loadu_si128(at + 2));
    d = FOLD(d, k12, _mm_loadu_si128(at + 3));
  }
  a = FOLD(a, k34, b);
  a = FOLD(a, k34, c);
  a = FOLD(a, k34, d);
  for (; size >= 16; at++, size -= 16) a = FOLD(a, k34, _mm_loadu_si128(at));
#undef FOLD
  /* The 128 bits left are themselves a message: its plain checksum, begun with zero, is the one sought. */
  uint8_t rest[16];
  _mm_storeu_si128((__m128i *)rest, a);
  return crc_plain(0, rest, 16);
}
#endif

static uint32_t crc32_of(const uint8_t *p, size_t size) {
  uint32_t crc = 0xFFFFFFFFu;
#ifdef HAS_FOLDING
  if (size >= 64 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
    size_t folded = size & ~(size_t)15;
    crc = crc_folded(crc, p, folded);
    p += folded;
    size -= folded;
  }
#endif
  return ~crc_plain(crc, p, size);
}

#endif
