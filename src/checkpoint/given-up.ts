/**
 * The newest checkpoint that a job has given up by going back to an older one, in a file of its own: digits and an end of line.
 *
 * The checkpoint that goes back names pages of the old one, with the generations that they have. So for every checkpoint that is
 * given up, the generations do not tell any more which pages are others than they were there. The note is durable before the job
 * goes back; one that could not be read stands for all checkpoints.
 */
import type { Device } from '../device/device.ts';
import { GIVEN_UP_NAME } from './job-directory.ts';

const NOTE_BYTES_MAX = 16;

export function noteGivenUp(device: Device, generation: number): void {
  const unfinished = `${GIVEN_UP_NAME}.new`;
  const file = device.openFile(unfinished, 'create');
  try {
    file.write(new TextEncoder().encode(`${generation}\n`), 0);
    file.sync();
  } finally {
    file.close();
  }
  device.rename(unfinished, GIVEN_UP_NAME);
  device.syncDirectory();
}

/** 0 where the job never went back. */
export function lastGivenUp(device: Device): number {
  if (!device.list().includes(GIVEN_UP_NAME)) return 0;
  const file = device.openFile(GIVEN_UP_NAME, 'read');
  try {
    const bytes = new Uint8Array(NOTE_BYTES_MAX);
    const [, digits] =
      /^(\d{1,10})\n$/.exec(new TextDecoder().decode(bytes.subarray(0, file.readInto(bytes, 0)))) ?? [];
    return digits === undefined ? Infinity : Number(digits);
  } finally {
    file.close();
  }
}
