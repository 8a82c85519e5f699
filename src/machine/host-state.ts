import { CorruptionError } from '../error/errors.ts';
import { type WasiState, parseWasiState } from '../wasi/wasi-state.ts';

/** The state of the host functions as a machine state holds it: JSON in UTF-8. */
export function encodeHostState(state: WasiState): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(state));
}

/** @throws CorruptionError when the bytes are not such a state. */
export function decodeHostState(bytes: Uint8Array): WasiState {
  return parseWasiState(parseJson(new TextDecoder().decode(bytes)));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CorruptionError("the checkpoint's record of open files is not JSON", {}, error);
  }
}
