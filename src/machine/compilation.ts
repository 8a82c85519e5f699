import { setFlagsFromString } from 'node:v8';

/**
 * Branch hints reached engines by default after V8 12; before, a flag asks for them. They keep what the saving code needs
 * off the hot side: without them V8 gives its values registers and spills as if it were run.
 */
export function enableBranchHints(): void {
  const major = Number(process.versions.v8.split('.')[0]);
  if (major <= 12) setFlagsFromString('--experimental-wasm-branch-hinting');
}

/**
 * Compiles with V8's optimising compiler at once, instead of the baseline compiler first.
 *
 * V8 never replaces a running frame: a loop that starts in baseline code stays there until it ends. A resume function at
 * a loop's head is where a long loop spends its time from then on, so it is worth the optimiser's time. The flags
 * belong to the process; they are set back at once, and nothing else compiles meanwhile in this thread.
 */
export function compileOptimised(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  setFlagsFromString('--no-liftoff');
  setFlagsFromString('--no-wasm-lazy-compilation');
  try {
    return new WebAssembly.Module(bytes);
  } finally {
    setFlagsFromString('--liftoff');
    setFlagsFromString('--wasm-lazy-compilation');
  }
}
