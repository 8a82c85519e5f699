// QuickJS as a WASI command: `quickjs SCRIPT [ARGUMENT …]` evaluates a script and runs its jobs to the end.
// The engine's own shell needs processes, signals and threads, which WASI preview 1 does not have, so this one gives
// scripts four functions: print, readFile, writeFile and loadScript, and the array scriptArguments.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quickjs.h"

static char *readWhole(JSContext *context, const char *path, size_t *lengthBytes) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    JS_ThrowReferenceError(context, "cannot open %s", path);
    return NULL;
  }
  fseek(file, 0, SEEK_END);
  size_t size = (size_t)ftell(file);
  rewind(file);
  char *bytes = malloc(size + 1);
  *lengthBytes = fread(bytes, 1, size, file);
  bytes[*lengthBytes] = 0;
  fclose(file);
  return bytes;
}

static JSValue print(JSContext *context, JSValueConst self, int count, JSValueConst *values) {
  for (int i = 0; i < count; i++) {
    size_t length;
    const char *text = JS_ToCStringLen(context, &length, values[i]);
    if (!text) return JS_EXCEPTION;
    if (i > 0) putchar(' ');
    fwrite(text, 1, length, stdout);
    JS_FreeCString(context, text);
  }
  putchar('\n');
  fflush(stdout);
  return JS_UNDEFINED;
}

static JSValue readFile(JSContext *context, JSValueConst self, int count, JSValueConst *values) {
  const char *path = JS_ToCString(context, values[0]);
  if (!path) return JS_EXCEPTION;
  size_t length;
  char *bytes = readWhole(context, path, &length);
  JS_FreeCString(context, path);
  if (!bytes) return JS_EXCEPTION;
  JSValue text = JS_NewStringLen(context, bytes, length);
  free(bytes);
  return text;
}

static JSValue writeFile(JSContext *context, JSValueConst self, int count, JSValueConst *values) {
  size_t length;
  const char *path = JS_ToCString(context, values[0]);
  const char *text = JS_ToCStringLen(context, &length, values[1]);
  FILE *file = path && text ? fopen(path, "wb") : NULL;
  size_t written = file ? fwrite(text, 1, length, file) : 0;
  int failed = !file || fclose(file) != 0 || written != length;
  JS_FreeCString(context, path);
  JS_FreeCString(context, text);
  return failed ? JS_ThrowReferenceError(context, "cannot write a file") : JS_UNDEFINED;
}

static JSValue loadScript(JSContext *context, JSValueConst self, int count, JSValueConst *values) {
  const char *path = JS_ToCString(context, values[0]);
  if (!path) return JS_EXCEPTION;
  size_t length;
  char *bytes = readWhole(context, path, &length);
  JSValue result = bytes ? JS_Eval(context, bytes, length, path, JS_EVAL_TYPE_GLOBAL) : JS_EXCEPTION;
  JS_FreeCString(context, path);
  free(bytes);
  return result;
}

static int fail(JSContext *context) {
  JSValue error = JS_GetException(context);
  const char *text = JS_ToCString(context, error);
  JSValue stack = JS_GetPropertyStr(context, error, "stack");
  const char *lines = JS_ToCString(context, stack);
  fprintf(stderr, "%s\n%s\n", text ? text : "unknown error", lines ? lines : "");
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: quickjs SCRIPT [ARGUMENT ...]\n");
    return 2;
  }
  JSRuntime *runtime = JS_NewRuntime();
  JSContext *context = JS_NewContext(runtime);
  JSValue global = JS_GetGlobalObject(context);
  JS_SetPropertyStr(context, global, "print", JS_NewCFunction(context, print, "print", 1));
  JS_SetPropertyStr(context, global, "readFile", JS_NewCFunction(context, readFile, "readFile", 1));
  JS_SetPropertyStr(context, global, "writeFile", JS_NewCFunction(context, writeFile, "writeFile", 2));
  JS_SetPropertyStr(context, global, "loadScript", JS_NewCFunction(context, loadScript, "loadScript", 1));
  JSValue words = JS_NewArray(context);
  for (int i = 2; i < argc; i++) JS_SetPropertyUint32(context, words, i - 2, JS_NewString(context, argv[i]));
  JS_SetPropertyStr(context, global, "scriptArguments", words);
  JSValueConst path = JS_NewString(context, argv[1]);
  JSValue result = loadScript(context, global, 1, &path);
  if (JS_IsException(result)) return fail(context);
  for (;;) {
    JSContext *jobContext;
    int state = JS_ExecutePendingJob(runtime, &jobContext);
    if (state < 0) return fail(jobContext);
    if (state == 0) break;
  }
  return 0;
}
