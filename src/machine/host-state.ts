import { CorruptionError } from '../error/errors.ts';
import { type WasiState, parseWasiState } from '../wasi/wasi-state.ts';
import { type DirectedState, parseDirectedState } from './directed-calls.ts';

/** The state of the host functions: WASI's, and that of the calls of a program that directs its checkpoints. */
export interface HostState {
  readonly wasi: WasiState;
  readonly directed: DirectedState | undefined;
}

/** As a machine state holds it: JSON in UTF-8, WASI's fields with one more where it is needed. */
export function encodeHostState({ wasi, directed }: HostState): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(directed === undefined ? wasi : { ...wasi, directed }));
}

/** @throws CorruptionError when the bytes are not such a state. */
export function decodeHostState(bytes: Uint8Array): HostState {
  const value = parseJson(new TextDecoder().decode(bytes));
  if (typeof value !== 'object' || value === null || !('directed' in value)) {
    return { wasi: parseWasiState(value), directed: undefined };
  }
  const { directed, ...wasi } = value;
  return { wasi: parseWasiState(wasi), directed: parseDirectedState(directed) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CorruptionError("the checkpoint's record of open files is not JSON", {}, error);
  }
}
