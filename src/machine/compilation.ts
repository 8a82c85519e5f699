import { availableParallelism } from 'node:os';
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
 * The same module with an empty section of this name, a letter: V8 keeps what it has compiled for whoever in the process compiles the same
 * bytes, and would give out the code of one way of compiling for another.
 */
function named(bytes: Uint8Array<ArrayBuffer>, letter: string): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(bytes.length + 4);
  result.set(bytes);
  result.set([0, 2, 1, letter.charCodeAt(0)], bytes.length);
  return result;
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
    return new WebAssembly.Module(named(bytes, 'o'));
  } finally {
    setFlagsFromString('--liftoff');
    setFlagsFromString('--wasm-lazy-compilation');
  }
}

/** Leaves it to V8 which functions it optimises, and when. */
export function compileInTiers(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  return new WebAssembly.Module(bytes);
}

/** What V8 11 has by default is 1 800 000. */
const TIERING_BUDGET = 3_600_000;

/**
 * For a process that runs nothing but the guest: V8 optimises functions with as many threads as it likes while the guest runs, which on a
 * machine of two processors left it half of one. One processor is the guest's. And V8 takes a function for hot by the bytes of code that
 * were run through, of which rewritten code has twice as many: with a budget for twice as many it optimises what it would of the
 * program itself. (Clang 16.5 → 11.6 s, Yosys 12.2 → 10.4 s, Lua 8.9 → 7.8 s, on two processors.)
 */
export function leaveProcessorToGuest(): void {
  setFlagsFromString(`--wasm-num-compilation-tasks=${Math.max(1, availableParallelism() - 1)}`);
  // Later engines have other budgets, and count otherwise.
  if (Number(process.versions.v8.split('.')[0]) === 11) setFlagsFromString(`--wasm-tiering-budget=${TIERING_BUDGET}`);
}

let hasOneRunTier = false;

/**
 * For a process that runs nothing but the guest: lets `compileForOneRun` keep V8 from optimising. A module that is compiled
 * without dynamic tiering would else be optimised as soon as its functions are first called; on modules with dynamic tiering
 * this flag has no influence.
 */
export function enableOneRunTier(): void {
  setFlagsFromString('--no-wasm-tier-up');
  hasOneRunTier = true;
}

/**
 * Compiles with V8's baseline compiler for good. V8 counts the bytes of code that a function runs through and takes one of a
 * megabyte, which many a resume function is, for hot when it has run once: it would optimise for seconds what never runs again.
 */
export function compileForOneRun(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  if (!hasOneRunTier) return new WebAssembly.Module(bytes);
  setFlagsFromString('--no-wasm-dynamic-tiering');
  try {
    return new WebAssembly.Module(named(bytes, 'b'));
  } finally {
    setFlagsFromString('--wasm-dynamic-tiering');
  }
}
