// Run-time part of clang 14's lowering of setjmp and longjmp to WebAssembly exceptions (legacy proposal). A function
// that calls setjmp keeps a growing list of (environment identity, label); longjmp throws the environment, and each such
// function on the way looks whether the identity is its own.
#include <stdint.h>
#include <stdlib.h>

typedef struct {
  uintptr_t identity;
  uint32_t label;
} Entry;

typedef struct {
  void *environment;
  int value;
} Jump;

extern uint32_t __tempRet0;
uint32_t __tempRet0;
void setTempRet0(uint32_t value) { __tempRet0 = value; }
uint32_t getTempRet0(void) { return __tempRet0; }

// The list ends with an entry of identity 0; size counts the entries that fit, that one included.
Entry *saveSetjmp(uintptr_t *environment, uint32_t label, Entry *list, uint32_t size) {
  static uintptr_t lastIdentity;
  *environment = ++lastIdentity;
  for (uint32_t i = 0; i + 1 < size; i++) {
    if (list[i].identity != 0) continue;
    list[i] = (Entry){lastIdentity, label};
    list[i + 1].identity = 0;
    setTempRet0(size);
    return list;
  }
  list = realloc(list, 2 * size * sizeof *list);
  list[size - 1] = (Entry){lastIdentity, label};
  list[size].identity = 0;
  setTempRet0(2 * size);
  return list;
}

uint32_t testSetjmp(uintptr_t identity, Entry *list, uint32_t size) {
  for (uint32_t i = 0; i < size && list[i].identity != 0; i++) {
    if (list[i].identity == identity) return list[i].label;
  }
  return 0;
}

void __wasm_longjmp(void *environment, int value) {
  static Jump jump;
  jump = (Jump){environment, value == 0 ? 1 : value};
  __builtin_wasm_throw(1, &jump);
}
