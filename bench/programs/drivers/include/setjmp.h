// wasi-libc of Debian has no setjmp.h; with `-mllvm -wasm-enable-sjlj` clang turns these calls into exception handling,
// for which setjmp.c beside this folder is the run-time part.
#ifndef SETJMP_H
#define SETJMP_H

typedef long jmp_buf[16];

int setjmp(jmp_buf environment) __attribute__((returns_twice));
void longjmp(jmp_buf environment, int value) __attribute__((noreturn));

#endif
