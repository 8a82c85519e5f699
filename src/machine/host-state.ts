import { CorruptionError } from '../error/errors.ts';
import { ShapeError } from '../wasi/checked-json.ts';
import { type WasiState, parseWasiState } from '../wasi/wasi-state.ts';
import { checkCheckpointName, type CheckpointName } from './checkpoint-name.ts';
import { type DirectedState, parseDirectedState } from './directed-calls.ts';

/** The state of the host functions: WASI's, and that of the calls of a program that directs its checkpoints. */
export interface HostState {
  readonly wasi: WasiState;
  readonly directed: DirectedState | undefined;
  /**
   * The checkpoint of another job that this one is a copy of; a later one that the copy takes itself is none. It is part of the state
   * so that no failure can part the two.
   */
  readonly origin?: CheckpointName | undefined;
}

/** As a machine state holds it: JSON in UTF-8, WASI's fields with others where they are needed. */
export function encodeHostState({ wasi, directed, origin }: HostState): Uint8Array {
  const value = {
    ...wasi,
    ...(directed === undefined ? {} : { directed }),
    ...(origin === undefined ? {} : { origin }),
  };
  return new TextEncoder().encode(JSON.stringify(value));
}

/** @throws CorruptionError when the bytes are not such a state. */
export function decodeHostState(bytes: Uint8Array): HostState {
  const value = parseJson(new TextDecoder().decode(bytes));
  if (typeof value !== 'object' || value === null) return { wasi: parseWasiState(value), directed: undefined };
  const { directed, origin, ...wasi } = value as { readonly directed?: unknown; readonly origin?: unknown };
  return {
    wasi: parseWasiState(wasi),
    directed: directed === undefined ? undefined : parseDirectedState(directed),
    ...(origin === undefined ? {} : { origin: parseOrigin(origin) }),
  };
}

function parseOrigin(value: unknown): CheckpointName {
  try {
    return checkCheckpointName(value, 'origin');
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw new CorruptionError(`the checkpoint's record of its origin cannot be read: ${error.message}`, {}, error);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CorruptionError("the checkpoint's record of open files is not JSON", {}, error);
  }
}
