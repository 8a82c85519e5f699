import { type Check, count, record, ShapeError, text } from '../wasi/checked-json.ts';

/** Which checkpoint: what a delta builds on, and what one may be built on. */
export interface CheckpointName {
  /** Random name of the job, in hexadecimal. */
  job: string;
  generation: number;
  /** XXH64 of its machine state, in hexadecimal; empty where only its number is known. */
  stateChecksum: string;
}

const hexadecimal: Check<string> = (value, place) => {
  const digits = text(value, place);
  if (!/^[0-9a-f]*$/.test(digits)) throw new ShapeError(place, 'a number in hexadecimal');
  return digits;
};

export const checkCheckpointName: Check<CheckpointName> = record<CheckpointName>({
  job: hexadecimal,
  generation: count,
  stateChecksum: hexadecimal,
});
