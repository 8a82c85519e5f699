import * as fs from 'node:fs';
import { basename } from 'node:path/posix';
import type { Device } from '../device/device.ts';
import { availableAnchorKind } from './anchor.ts';
import type { WasiConfig } from './config.ts';
import { systemCode } from './errno.ts';
import type { Location } from './host-tree.ts';
import { HostTree, inodeOf } from './host-tree.ts';
import { openRoots } from './host-roots.ts';
import { ASIDE_PREFIX } from './path-walk.ts';
import { FoundJournal } from './undo-journal.ts';
import type { WasiState } from './wasi-state.ts';

/**
 * Removes what a job that is given up has set aside in the guest's directories, where nobody would find it again. What
 * the guest did to files stays done. Call it before the files of the job directory go. An aside that cannot be found or
 * removed is left.
 */
export function removeAsidesOfAbandonedJob(config: WasiConfig, state: WasiState, device: Device): void {
  const asides: { at: Location; inode: string }[] = [...state.asides];
  for (const journal of FoundJournal.findLive(device, state.generation)) {
    for (const { record } of journal.records) {
      if (record.kind === 'kept') asides.push({ at: record.aside, inode: record.inode });
      if (record.kind === 'moved') asides.push({ at: record.to, inode: record.inode });
    }
    journal.close();
  }
  const tree = new HostTree(openRoots(config, availableAnchorKind(), false));
  try {
    // Contents before the directory that holds them.
    asides.sort((a, b) => b.at.path.length - a.at.path.length);
    for (const { at, inode } of asides) {
      if (basename(at.path).startsWith(ASIDE_PREFIX)) removeAside(tree, at, inode);
    }
  } finally {
    tree.close();
  }
}

function removeAside(tree: HostTree, at: Location, inode: string): void {
  tree.use(at, (entry) => {
    if (entry.status === undefined || inodeOf(entry.status) !== inode) return;
    const path = entry.parent.entry(entry.name);
    try {
      if (entry.status.isDirectory()) fs.rmdirSync(path);
      else fs.unlinkSync(path);
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
    }
  });
}
