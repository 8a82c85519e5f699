// A compressor in the manner of LZ4 over 16 MB of text with repetitions: byte loads and stores, short
// data-dependent loops.
// Result: 0x195668d3

#include "kernel.h"

enum {
  SOURCE_BYTES = 16 << 20,
  TARGET_BYTES = 18 << 20,
  HASH_BITS = 14,
  LEAST_MATCH = 4,
  FARTHEST = 65535,
  /** Bytes at the end that are never matched, so that four bytes can be read at every position tried. */
  TAIL_BYTES = 12
};

static uint8_t source[SOURCE_BYTES];
static uint8_t target[TARGET_BYTES];
static uint32_t newest[1 << HASH_BITS];

static inline uint32_t read_word(const uint8_t *at) {
  return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/** The part of a length that does not fit its four bits of the token: bytes of 255 and a remainder. */
static inline uint8_t *put_rest(uint8_t *out, uint32_t length) {
  if (length < 15) return out;
  length -= 15;
  for (; length >= 255; length -= 255) *out++ = 255;
  *out++ = (uint8_t)length;
  return out;
}

NOINLINE static uint32_t compress(const uint8_t *in, uint32_t bytes, uint8_t *out) {
  const uint8_t *const start = out;
  for (uint32_t i = 0; i < 1 << HASH_BITS; i++) newest[i] = 0;
  uint32_t at = 0;
  uint32_t literals_from = 0;
  while (at + TAIL_BYTES < bytes) {
    const uint32_t word = read_word(in + at);
    const uint32_t hash = word * 2654435761u >> (32 - HASH_BITS);
    const uint32_t match = newest[hash];
    newest[hash] = at;
    if (match == 0 || at - match > FARTHEST || read_word(in + match) != word) {
      at++;
      continue;
    }
    uint32_t length = LEAST_MATCH;
    while (at + length < bytes && in[match + length] == in[at + length]) length++;
    const uint32_t literals = at - literals_from;
    const uint32_t extra = length - LEAST_MATCH;
    *out++ = (uint8_t)((literals < 15 ? literals : 15) << 4 | (extra < 15 ? extra : 15));
    out = put_rest(out, literals);
    for (uint32_t i = 0; i < literals; i++) *out++ = in[literals_from + i];
    *out++ = (uint8_t)(at - match);
    *out++ = (uint8_t)((at - match) >> 8);
    out = put_rest(out, extra);
    at += length;
    literals_from = at;
  }
  return (uint32_t)(out - start);
}

SETUP {
  uint32_t at = 0;
  while (at < SOURCE_BYTES) {
    const uint32_t choice = next_random();
    if (at > 4096 && (choice & 3) != 0) {
      const uint32_t back = 1 + (choice >> 8 & 2047);
      for (uint32_t left = 4 + (choice >> 2 & 31); left > 0 && at < SOURCE_BYTES; left--, at++) {
        source[at] = source[at - back];
      }
    } else {
      for (uint32_t left = 1 + (choice >> 2 & 7); left > 0 && at < SOURCE_BYTES; left--, at++) {
        source[at] = next_random() & 63;
      }
    }
  }
}

RUN {
  const uint32_t bytes = compress(source, SOURCE_BYTES, target);
  check(bytes <= TARGET_BYTES);
  uint32_t digest = bytes;
  for (uint32_t at = 0; at + 4 <= bytes; at += 64) digest = digest_add(digest, read_word(target + at));
  return (int32_t)digest;
}
