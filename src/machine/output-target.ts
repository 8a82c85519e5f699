import type { OutputTarget } from '../wasi/config.ts';
import type { GuestMessage, OutputDescription } from './protocol.ts';

/** A function of the embedder is called in its own thread, with a copy: the guest writes to the same place again. */
export function outputTarget(
  output: OutputDescription,
  stream: 'stdout' | 'stderr',
  post: (message: GuestMessage) => void,
): OutputTarget {
  if (output.kind !== 'sink') return output;
  return { kind: 'sink', write: (bytes) => post({ kind: 'output', stream, bytes: Uint8Array.from(bytes) }) };
}
