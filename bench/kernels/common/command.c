// A benchmark kernel as a WASI command, for tests: prints the digest of each of TIMES runs, a line each. KERNEL names the
// kernel's source.

#include KERNEL

__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_write"))) int32_t
fd_write(int32_t descriptor, const void *vectors, int32_t count, uint32_t *written);

struct vector {
  const char *bytes;
  uint32_t length;
};

static void print_digest(uint32_t digest) {
  char line[9];
  for (int i = 0; i < 8; i++) line[i] = "0123456789abcdef"[digest >> (28 - 4 * i) & 15];
  line[8] = '\n';
  const struct vector vector = {line, sizeof line};
  uint32_t written;
  check(fd_write(1, &vector, 1, &written) == 0 && written == sizeof line);
}

// The compiler must not see that some kernels give the same result each time.
static int32_t (*volatile repeated)(void) = run;

EXPORT("_start") void start(void) {
  setup();
  for (int i = 0; i < TIMES; i++) print_digest((uint32_t)repeated());
}
