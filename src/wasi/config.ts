/** Directory of the host that the guest may use, under the name that the guest knows it by. */
export interface Preopen {
  guestPath: string;
  hostPath: string;
}

/**
 * Where standard input comes from. `inherit`: the process's own. `file`: opened by Continuo, read from its start and
 * repositioned on restart. `bytes`: given by the embedder, the same on every start. `empty`: end of file at once.
 */
export type InputSource =
  { kind: 'inherit' } | { kind: 'file'; path: string } | { kind: 'bytes'; bytes: Uint8Array } | { kind: 'empty' };

/**
 * Where standard output or error goes. `inherit`: the process's own. `file`: created by Continuo, cut to the
 * checkpoint's length on restart. `sink`: a function of the embedder; bytes are only valid during the call.
 */
export type OutputTarget =
  { kind: 'inherit' } | { kind: 'file'; path: string } | { kind: 'sink'; write: (bytes: Uint8Array) => void };

/**
 * `immediate`: bytes leave at once. `commit`: bytes leave when the checkpoint that covers them is durable. `auto`, for each
 * stream: with a job, `commit` for an inherited stream that is no terminal, else `immediate`.
 */
export type OutputMode = 'immediate' | 'commit' | 'auto';

export interface WasiConfig {
  /** Begins with the program's name, as in C. */
  arguments: readonly string[];
  environment: readonly (readonly [name: string, value: string])[];
  preopens: readonly Preopen[];
  stdin: InputSource;
  stdout: OutputTarget;
  stderr: OutputTarget;
  outputMode: OutputMode;
}

/**
 * What the machine lends to calls that wait. Times are on the clock of `performance.now()` in the guest's thread, in
 * milliseconds; `Infinity` waits for ever. `interrupted` means that a capture was requested.
 */
export interface Blocking {
  waitUntil(deadlineMs: number): 'elapsed' | 'interrupted';
  /** Standard input that is not a regular file, read by another thread. Waits for at least a byte; 0 = end of file. */
  readInput(into: Uint8Array): number | 'interrupted';
  /** Waits until `readInput` would not wait; `elapsed` when the deadline comes first. */
  waitForInput(deadlineMs: number): 'ready' | 'elapsed' | 'interrupted';
  /** Bytes that were read ahead and not yet given out by `readInput`; a capture stores them. */
  peekInput(): Uint8Array;
  captureRequested(): boolean;
  /** The run is to end with the next capture. */
  stopRequested(): boolean;
}

/**
 * What a host function returns instead of an error number when a capture interrupted it: the machine unwinds the guest
 * and, after resuming, issues the call again with the same arguments. No error number of WASI is negative.
 */
export const INTERRUPTED = -1;

/** Thrown by `proc_exit`: the guest is done. */
export class ProcessExit extends Error {
  readonly exitCode: number;
  constructor(exitCode: number) {
    super(`the program exited with code ${exitCode}`);
    this.name = 'ProcessExit';
    this.exitCode = exitCode;
  }
}
