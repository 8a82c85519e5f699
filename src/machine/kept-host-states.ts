/** What older checkpoints of a job say of the host's files. */
import type { CheckpointStore } from '../checkpoint/checkpoint-store.ts';
import { withoutHeldOutput } from '../wasi/standard-output.ts';
import { decodeHostState, encodeHostState } from './host-state.ts';
import { decodeMachineState, encodeMachineState } from './machine-state.ts';

/** Generations of the undo journals that the kept checkpoints before the newest need, oldest first. */
export function keptJournalGenerations(store: CheckpointStore | undefined): number[] {
  return (store?.olderStates() ?? []).map(journalGenerationOf);
}

/** The generation of the first undo journal that a restart from a machine state undoes. */
export function journalGenerationOf(state: Uint8Array): number {
  return decodeHostState(decodeMachineState(state).host).wasi.generation;
}

/** The machine state of an older checkpoint, to be gone on from. */
export function withoutHeldOutputIn(bytes: Uint8Array): Uint8Array {
  const state = decodeMachineState(bytes);
  const { wasi, directed } = decodeHostState(state.host);
  const host = encodeHostState({ wasi: { ...wasi, output: withoutHeldOutput(wasi.output) }, directed });
  return encodeMachineState({ ...state, host });
}
