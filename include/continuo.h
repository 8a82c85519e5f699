/*
 * What a C program may tell Continuo. All of it is optional; a program that uses none of it is checkpointed just as well.
 * A program that uses it needs a host that has these functions: `continuo run`, or its own.
 *
 *   #include "continuo.h"
 *   ...
 *   for (long row = 0; row < rows; row++) {
 *     work_on(row);
 *     continuo_progress(row + 1, rows);
 *   }
 */
#ifndef CONTINUO_H
#define CONTINUO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CONTINUO_IMPORT(name) __attribute__((import_module("continuo"), import_name(name)))

/*
 * Takes a checkpoint here. Returns 0 when the program goes on behind it, or when no checkpoints are kept; 1 when the program goes on
 * from that checkpoint in a later run.
 */
CONTINUO_IMPORT("checkpoint") int32_t continuo_checkpoint(void);

/*
 * Bytes that need not be saved: whole pages of 4096 bytes among them are left out of checkpoints until they are included again. After a
 * restart they hold anything: zeros, or what they held earlier.
 */
CONTINUO_IMPORT("exclude") void continuo_exclude(const void *address, size_t length);

/* Bytes that are to be saved again, which is the rule. */
CONTINUO_IMPORT("include") void continuo_include(const void *address, size_t length);

/* `done` steps of `total` are done: for progress bars, and for checkpoints by progress (`--every 40steps`). */
CONTINUO_IMPORT("progress") void continuo_progress(double done, double total);

#ifdef __cplusplus
}
#endif

#endif
