import { INTERRUPTED, ProcessExit } from '../wasi/config.ts';

type HostCalls = Readonly<Record<string, (...args: never[]) => number>>;

/** What host functions do to the run that calls them. */
export interface CallingRun {
  /** Throws where the guest must not go on. */
  readonly before: () => void;
  readonly exit: (exitCode: number) => void;
  readonly fail: (error: unknown) => void;
  /** The host function is done with the guest's memory. */
  readonly releaseHolds: () => void;
  /** The guest leaves at its next look. */
  readonly beginUnwinding: () => void;
}

/** Host functions whose interruption makes the guest unwind, to issue the call again after the capture. */
export function interruptibleCalls(calls: HostCalls, run: CallingRun): WebAssembly.ModuleImports {
  return Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, interruptible(call, run)]));
}

function interruptible(call: (...args: never[]) => number, run: CallingRun): (...args: never[]) => number {
  return (a: never, b: never, c: never, d: never, e: never, f: never, g: never, h: never, i: never): number => {
    try {
      run.before();
      const result = call(a, b, c, d, e, f, g, h, i);
      if (result !== INTERRUPTED) return result;
    } catch (error) {
      // The guest leaves by unwinding: an exception of the host could be caught by a handler of the guest.
      if (error instanceof ProcessExit) run.exit(error.exitCode);
      else run.fail(error);
    } finally {
      run.releaseHolds();
    }
    run.beginUnwinding();
    return 0;
  };
}
