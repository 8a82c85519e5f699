import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { ValueType } from '../../src/wasm/value-type.ts';

/** A program, what it imports and what is called: everything that two ways of running it have in common. */
export interface Scenario {
  readonly wasm: Uint8Array;
  /** Makes the host functions of one run, so that whatever state they hold starts over with each run. */
  readonly imports?: (host: Host) => WebAssembly.Imports;
  /** Exported functions, called one after the other whether or not the one before trapped. */
  readonly calls: readonly Call[];
}

export interface Call {
  readonly name: string;
  readonly args?: readonly unknown[];
}

/** What host functions see of the guest that called them. */
export interface Host {
  /** Notes a value; the notes of both ways of running must be the same. */
  log(...values: readonly unknown[]): void;
  read(address: number, lengthBytes: number): Uint8Array;
  write(address: number, bytes: Uint8Array): void;
}

/** All that can be seen of a program when it has run, in a form that compares by value. */
export interface Observation {
  /** Per call: `returned …`, `trapped …` or `threw …`. */
  readonly outcomes: readonly string[];
  readonly log: readonly string[];
  readonly memory: Uint8Array;
  readonly globals: readonly string[];
  readonly tables: readonly (readonly string[])[];
}

/** How a function that is referred to is written: by its index in the original program. */
export type FunctionNumber = (reference: { readonly name: string }) => string;

export function describeValue(value: unknown, numberOf: FunctionNumber): string {
  if (Array.isArray(value)) return `[${value.map((entry) => describeValue(entry, numberOf)).join(', ')}]`;
  if (typeof value === 'function') return `function ${numberOf(value)}`;
  if (typeof value === 'bigint') return `${value}n`;
  if (Object.is(value, -0)) return '-0';
  if (typeof value === 'object' && value !== null) return 'host object';
  return String(value);
}

/** What a global or table entry of reference type holds. JavaScript cannot look at references to exceptions. */
export function describeReference(type: number, read: () => unknown, numberOf: FunctionNumber): string {
  return type === ValueType.exnref ? 'an exception or null' : describeValue(read(), numberOf);
}

/** Calls the guest and says how that ended; a trap with its message, which tells the kind of trap. */
export function outcomeOf(run: () => unknown, numberOf: FunctionNumber): string {
  try {
    return `returned ${describeValue(run(), numberOf)}`;
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) return `trapped: ${error.message}`;
    if (error instanceof RangeError) return `trapped: ${error.message}`;
    if (error instanceof GuestException) return 'threw: an exception of the guest';
    // By the tag of JavaScript's own exceptions, programs can throw any value.
    if (error === null) return 'threw: null';
    // Vectors cannot pass between the guest and JavaScript: an attempt ends the call.
    if (error instanceof TypeError && error.message.startsWith('type incompatibility'))
      return `threw: ${error.message}`;
    if (error instanceof HostRefusal) return `threw: ${error.message}`;
    throw error;
  }
}

/** `WebAssembly.Exception`, of which the library of types knows nothing. */
const GuestException = (WebAssembly as unknown as { readonly Exception: new () => Error }).Exception;

/** Thrown by host functions of scenarios: it passes through the guest and ends the call. */
export class HostRefusal extends Error {}

/** Bits of a global, a 16-byte cell in hexadecimal, the highest byte first. */
export const cellText = (low: bigint, high: bigint): string =>
  `0x${BigInt.asUintN(64, high).toString(16).padStart(16, '0')}${BigInt.asUintN(64, low).toString(16).padStart(16, '0')}`;

/** What differs, in few words; empty when nothing does. Memories are not printed whole. */
export function differences(expected: Observation, found: Observation): string[] {
  const list: string[] = [];
  const compare = (what: string, a: readonly string[], b: readonly string[]): void => {
    const length = Math.max(a.length, b.length);
    for (let k = 0; k < length && list.length < 12; k++) {
      if (a[k] !== b[k]) list.push(`${what} ${k}: expected ${a[k]}, found ${b[k]}`);
    }
  };
  compare('call', expected.outcomes, found.outcomes);
  compare('log', expected.log, found.log);
  compare('global', expected.globals, found.globals);
  const tableCount = Math.max(expected.tables.length, found.tables.length);
  for (let k = 0; k < tableCount; k++) compare(`table ${k} entry`, expected.tables[k] ?? [], found.tables[k] ?? []);
  const [a, b] = [expected.memory, found.memory];
  if (a.length !== b.length) list.push(`memory: expected ${a.length} bytes, found ${b.length}`);
  else if (Buffer.compare(a, b) !== 0) {
    const at = a.findIndex((byte, k) => byte !== b[k]);
    list.push(`memory: byte ${at} (page ${Math.floor(at / PAGE_BYTES)}): expected ${a[at]}, found ${b[at]}`);
  }
  return list;
}
