// What the SQLite shell calls and WASI preview 1 does not have: files here have no permissions to change.
#include <sys/stat.h>

int chmod(const char *path, mode_t mode) {
  return 0;
}
