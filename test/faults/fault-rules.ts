/** What `failing-system.cjs` makes of the system for one process of the command. */
import { fileURLToPath } from 'node:url';

/** A system error; a call that does half; one that does nothing and says it did; one whose data is wrong; death before or after. */
export type Fault =
  'ENOSPC' | 'EIO' | 'EINTR' | 'EROFS' | 'EACCES' | 'short' | 'claim' | 'other-byte' | 'kill-before' | 'kill-after';

export interface FaultRule {
  /** The function of `node:fs`. */
  readonly call: string;
  /** Part of the path of the file, or `@stdout` for whatever standard output is. */
  readonly path: string;
  /** So many such calls of a thread are left alone, and so many after them have the fault; undefined: all. */
  readonly from: number;
  readonly times?: number;
  readonly fault: Fault;
}

/** At so many milliseconds after its start the wall clock of a process is set by so many, back or forward. */
export interface ClockJump {
  readonly afterMs: number;
  readonly byMs: number;
}

const PRELOAD = fileURLToPath(new URL('failing-system.cjs', import.meta.url));

/** The environment of a process that has the faults and the jumps. */
export function failingSystem(
  rules: readonly FaultRule[],
  jumps: readonly ClockJump[] = [],
): Readonly<Record<string, string>> {
  return {
    NODE_OPTIONS: `--require=${PRELOAD}`,
    CONTINUO_TEST_FAULTS: JSON.stringify(rules),
    ...(jumps.length === 0 ? {} : { CONTINUO_TEST_CLOCK: JSON.stringify(jumps) }),
  };
}
