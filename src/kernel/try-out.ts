import { type FaultPurpose, UserFaults } from './user-faults.ts';

const PAGE_BYTES = 4096;

/** Tries something out on so many pages of no use; returns why it cannot be had here, for people, or undefined: it can. */
export function obstacleTo(
  purpose: FaultPurpose,
  pageCount: number,
  tryOut: (faults: UserFaults, at: number) => void,
): string | undefined {
  let faults: UserFaults | undefined;
  try {
    faults = new UserFaults(purpose);
    const at = faults.map(pageCount * PAGE_BYTES);
    try {
      tryOut(faults, at);
    } finally {
      faults.unmap(at, pageCount * PAGE_BYTES);
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
  } finally {
    faults?.close();
  }
}
