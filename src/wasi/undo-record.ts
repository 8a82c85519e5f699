/**
 * What an undo journal says: each record tells how to take back one effect of the guest on the host's file system.
 * Locations are those at the moment of the effect, which a rollback in reverse order has again when it comes to them.
 */
import type { Check } from './checked-json.ts';
import { constant, count, digits, record, text, variant } from './checked-json.ts';
import type { Location } from './host-tree.ts';

export type UndoRecord =
  /** The file had `lengthBytes` bytes: cut it back. */
  | { kind: 'length'; at: Location; inode: string; lengthBytes: number }
  /** The bytes that follow the record stood at `offsetBytes`: put them back. */
  | { kind: 'bytes'; at: Location; inode: string; offsetBytes: number }
  /** There was nothing at this place: remove the file or link, or the empty directory, that is there now. */
  | { kind: 'madeFile'; at: Location }
  | { kind: 'madeDirectory'; at: Location }
  /** There was no such name of the file: remove the name. */
  | { kind: 'linked'; at: Location; inode: string }
  /** It was at `from`: move it back there. */
  | { kind: 'moved'; from: Location; to: Location; inode: string }
  /** A name for it was made at `aside` before its own name was taken by another: give it its name back. */
  | { kind: 'kept'; at: Location; aside: Location; inode: string }
  | { kind: 'times'; at: Location; inode: string; accessNs: string; modifyNs: string }
  /** The effects of the `recordCount` records before it failed: they are none. */
  | { kind: 'cancelled'; recordCount: number }
  /** Written by a rollback: only the first `recordCount` records are still to be undone. */
  | { kind: 'undone'; recordCount: number };

export const checkLocation: Check<Location> = record<Location>({ root: count, path: text });

export const checkUndoRecord: Check<UndoRecord> = variant<UndoRecord>({
  length: record({ kind: constant('length'), at: checkLocation, inode: digits, lengthBytes: count }),
  bytes: record({ kind: constant('bytes'), at: checkLocation, inode: digits, offsetBytes: count }),
  madeFile: record({ kind: constant('madeFile'), at: checkLocation }),
  madeDirectory: record({ kind: constant('madeDirectory'), at: checkLocation }),
  linked: record({ kind: constant('linked'), at: checkLocation, inode: digits }),
  moved: record({ kind: constant('moved'), from: checkLocation, to: checkLocation, inode: digits }),
  kept: record({ kind: constant('kept'), at: checkLocation, aside: checkLocation, inode: digits }),
  times: record({ kind: constant('times'), at: checkLocation, inode: digits, accessNs: digits, modifyNs: digits }),
  cancelled: record({ kind: constant('cancelled'), recordCount: count }),
  undone: record({ kind: constant('undone'), recordCount: count }),
});
