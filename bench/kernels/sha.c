// SHA-256 of 16 MB (FIPS 180-4): rotations and additions with few accesses, a function call for each block of 64 bytes.
// Result: 0xc10379f0

#include "kernel.h"

enum { INPUT_BYTES = 16 << 20, BLOCK_BYTES = 64 };

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t initial_state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static uint8_t input[INPUT_BYTES];
static uint8_t last_block[BLOCK_BYTES];
static uint32_t state[8];
static uint32_t schedule[64];

NOINLINE static void add_block(const uint8_t *block) {
  uint32_t *const w = schedule;
  for (int i = 0; i < 16; i++) {
    const uint8_t *const word = block + i * 4;
    w[i] = (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 | (uint32_t)word[2] << 8 | word[3];
  }
  for (int i = 16; i < 64; i++) {
    const uint32_t early = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
    const uint32_t late = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + early + w[i - 7] + late;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; i++) {
    const uint32_t mixed_e = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
    const uint32_t mixed_a = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
    const uint32_t first = h + mixed_e + ((e & f) ^ (~e & g)) + round_constants[i] + w[i];
    const uint32_t second = mixed_a + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + first;
    d = c;
    c = b;
    b = a;
    a = first + second;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

/** The hash of `bytes` bytes into `state`. */
static void hash(const uint8_t *data, uint32_t bytes) {
  for (int i = 0; i < 8; i++) state[i] = initial_state[i];
  uint32_t at = 0;
  for (; at + BLOCK_BYTES <= bytes; at += BLOCK_BYTES) add_block(data + at);
  // The callers' lengths leave room for the length in the block that ends the data.
  check(bytes - at < BLOCK_BYTES - 8);
  for (uint32_t i = 0; i < BLOCK_BYTES; i++) last_block[i] = at + i < bytes ? data[at + i] : 0;
  last_block[bytes - at] = 0x80;
  const uint64_t bits = (uint64_t)bytes * 8;
  for (int i = 0; i < 8; i++) last_block[BLOCK_BYTES - 1 - i] = (uint8_t)(bits >> (8 * i));
  add_block(last_block);
}

SETUP {
  hash((const uint8_t *)"abc", 3);
  check(state[0] == 0xba7816bf && state[7] == 0xf20015ad);
  for (int at = 0; at < INPUT_BYTES; at++) input[at] = (uint8_t)next_random();
}

RUN {
  hash(input, INPUT_BYTES);
  return (int32_t)(state[0] ^ state[7]);
}
