/**
 * What a restart on another machine needs to know of the files that a program has open: which they are, how long they were at the
 * checkpoint, and a digest of what they held.
 *
 * The contents themselves are not part of a restart file. A file that the program has changed after the checkpoint is digested
 * as it was then, with the pre-images of the undo journal over what it holds now; one that it only appended to needs
 * nothing of the kind, because a restart cuts it.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { basename } from 'node:path';
import type { Device } from '../device/device.ts';
import { UsageError } from '../error/errors.ts';
import { availableAnchorKind } from './anchor.ts';
import type { WasiConfig } from './config.ts';
import { openRoots, realPathOf } from './host-roots.ts';
import { HostTree, inodeOf, type Location } from './host-tree.ts';
import { FoundJournal, type FoundRecord } from './undo-journal.ts';
import { systemCode } from './errno.ts';
import { ASIDE_PREFIX } from './path-walk.ts';
import type { WasiState } from './wasi-state.ts';

const WINDOW_BYTES = 1 << 20;

/** A file that the program had open, at the checkpoint. */
export interface FileEvidence {
  /** Where it was, for people. */
  readonly path: string;
  readonly lengthBytes: number;
  /** Whether a longer file is one to which the program appended later. */
  readonly mayBeLonger: boolean;
  /** SHA-256 of its first `lengthBytes` bytes, in hexadecimal; empty for what is no regular file. */
  readonly sha256: string;
}

export interface RecordedFiles {
  /** For each of the state's files. */
  readonly files: readonly FileEvidence[];
  /** Where the files of standard input, output and error are, as the state knows them. */
  readonly streams: readonly (Location | null)[];
  /** Files that the program has changed in place, made, renamed or removed since the checkpoint. */
  readonly changedSince: readonly string[];
}

/** The files moved on while they were looked at: try again with a newer checkpoint. */
export class FilesMovedOn extends Error {}

/**
 * Looks at the files of a state, while the program runs perhaps. Changes nothing.
 * @throws UsageError `guest-file-changed`: one is not there; FilesMovedOn.
 */
export function recordFiles(config: WasiConfig, state: WasiState, device: Device): RecordedFiles {
  const tree = new HostTree(openRoots(config, availableAnchorKind(), false));
  try {
    const before = readJournals(device, state.generation);
    const files = state.files.map((file, index) => {
      const mayBeLonger = file.lengthBytes !== null || isWritten(state, index);
      return recordFile(tree, file, mayBeLonger, before.get(file.inode) ?? NO_PRE_IMAGES);
    });
    // What was changed while a file was read had its record before.
    const after = readJournals(device, state.generation);
    for (const { inode } of state.files) {
      if (after.get(inode)?.recordCount !== before.get(inode)?.recordCount) throw new FilesMovedOn();
    }
    const streams = [config.stdin, config.stdout, config.stderr].map((stream) =>
      stream.kind === 'file' ? (tree.locationOf(realPathOf(stream.path)) ?? null) : null,
    );
    return { files, streams, changedSince: changedNames(tree, device, state.generation) };
  } finally {
    tree.close();
  }
}

function isWritten(state: WasiState, file: number): boolean {
  return state.descriptors.some(
    (descriptor) => descriptor.kind === 'file' && descriptor.file === file && descriptor.access !== 'read',
  );
}

interface PreImages {
  readonly recordCount: number;
  /** Length at the checkpoint, where the journal knows it. */
  readonly lengthBytes: number | undefined;
  /** Newest first, so that the oldest is what stays. */
  readonly pieces: readonly { readonly offsetBytes: number; readonly data: Uint8Array }[];
}

const NO_PRE_IMAGES: PreImages = { recordCount: 0, lengthBytes: undefined, pieces: [] };

/** What the journals say of each file, by its inode number. */
function readJournals(device: Device, generation: number): Map<string, PreImages> {
  const found = new Map<string, PreImages>();
  eachRecord(device, generation, (journal, { record, ...place }) => {
    if (record.kind !== 'length' && record.kind !== 'bytes') return;
    const known = found.get(record.inode) ?? NO_PRE_IMAGES;
    const recordCount = known.recordCount + 1;
    if (record.kind === 'length') {
      found.set(record.inode, { ...known, recordCount, lengthBytes: record.lengthBytes });
    } else {
      const data = journal.readData({ record, ...place });
      const pieces = [...known.pieces, { offsetBytes: record.offsetBytes, data }];
      found.set(record.inode, { ...known, recordCount, pieces });
    }
  });
  return found;
}

/** Newest first, as an undo would take them. */
function eachRecord(
  device: Device,
  generation: number,
  take: (journal: FoundJournal, found: FoundRecord) => void,
): void {
  for (const journal of FoundJournal.findLive(device, generation, true)) {
    try {
      for (const found of journal.records.toReversed()) take(journal, found);
    } finally {
      journal.close();
    }
  }
}

function changedNames(tree: HostTree, device: Device, generation: number): string[] {
  const names = new Set<string>();
  eachRecord(device, generation, (_, { record }) => {
    if (record.kind === 'moved') names.add(tree.pathOf(record.from));
    else if (
      record.kind === 'bytes' ||
      record.kind.startsWith('made') ||
      record.kind === 'linked' ||
      record.kind === 'kept'
    ) {
      if ('at' in record) names.add(tree.pathOf(record.at));
    }
  });
  return [...names].filter((path) => !basename(path).startsWith(ASIDE_PREFIX)).toSorted();
}

function recordFile(
  tree: HostTree,
  file: WasiState['files'][number],
  mayBeLonger: boolean,
  { lengthBytes: journalledBytes, pieces }: PreImages,
): FileEvidence {
  const path = tree.pathOf(file.at);
  const evidence = withOpened(tree, file.at, (descriptor, status) => {
    if (inodeOf(status) !== file.inode) return undefined;
    if (!status.isFile()) return { path, lengthBytes: 0, mayBeLonger: true, sha256: '' };
    const lengthBytes = file.lengthBytes ?? journalledBytes ?? Number(status.size);
    return { path, lengthBytes, mayBeLonger, sha256: digestOf(descriptor, lengthBytes, pieces) };
  });
  if (evidence !== undefined) return evidence;
  throw new UsageError(
    'guest-file-changed',
    `the program had ${path} open at the checkpoint, and it is not there any more; put it back, or, if the program itself ` +
      'renamed or removed it since, stop the job and export it again',
    { path },
  );
}

/** Opens what is at a location to read it; undefined where there is nothing. */
function withOpened<Result>(
  tree: HostTree,
  at: Location,
  use: (descriptor: number, status: fs.BigIntStats) => Result,
): Result | undefined {
  return tree.use(at, (entry) => {
    if (entry.status === undefined || entry.status.isDirectory()) return undefined;
    const flags = fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK;
    let descriptor: number;
    try {
      descriptor = fs.openSync(entry.parent.entry(entry.name), flags);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (systemCode(error) === undefined) throw error;
      throw new UsageError('guest-file-changed', `cannot read ${entry.path}, which the program has open: ${reason}`, {
        path: entry.path,
      });
    }
    try {
      return use(descriptor, fs.fstatSync(descriptor, { bigint: true }));
    } finally {
      fs.closeSync(descriptor);
    }
  });
}

function digestOf(descriptor: number, lengthBytes: number, pieces: PreImages['pieces'] = []): string {
  const hash = createHash('sha256');
  const window = new Uint8Array(Math.min(WINDOW_BYTES, lengthBytes));
  for (let at = 0; at < lengthBytes; at += WINDOW_BYTES) {
    const view = window.subarray(0, Math.min(WINDOW_BYTES, lengthBytes - at));
    let doneBytes = 0;
    while (doneBytes < view.length) {
      const count = fs.readSync(descriptor, view, doneBytes, view.length - doneBytes, at + doneBytes);
      if (count === 0) break;
      doneBytes += count;
    }
    // Bytes that were cut off since have pre-images.
    view.fill(0, doneBytes);
    for (const { offsetBytes, data } of pieces) {
      const from = Math.max(at, offsetBytes);
      const to = Math.min(at + view.length, offsetBytes + data.length);
      if (from < to) view.set(data.subarray(from - offsetBytes, to - offsetBytes), from - at);
    }
    hash.update(view);
  }
  return hash.digest('hex');
}

/**
 * Holds the files of this machine against the evidence, and returns the state in terms of this machine: its inode numbers, and the
 * files of the standard streams where they are now.
 * @throws UsageError `guest-file-changed` that names all that differ; with `onChange` it is told of those instead of which the
 * program can go on with.
 */
export function settleState(
  config: WasiConfig,
  state: WasiState,
  recorded: Pick<RecordedFiles, 'files' | 'streams'>,
  onChange?: (text: string) => void,
): WasiState {
  const tree = new HostTree(openRoots(config, availableAnchorKind(), false));
  try {
    const moved = (at: Location): Location => movedLocation(config, recorded.streams, at);
    const missing: string[] = [];
    const changed: string[] = [];
    const files = state.files.map((file, index) => {
      const at = moved(file.at);
      const path = tree.pathOf(at);
      const evidence = recorded.files[index];
      const inode = withOpened(tree, at, (descriptor, status) => {
        if (evidence !== undefined && evidence.sha256 !== '') {
          const fault = differenceOf(descriptor, status, evidence);
          if (fault !== undefined) (fault.isShort ? missing : changed).push(`${path} ${fault.text}`);
        }
        return inodeOf(status);
      });
      if (inode === undefined) missing.push(`${path} is not there`);
      return { ...file, at, inode: inode ?? file.inode };
    });
    const descriptors = state.descriptors.map((descriptor) => {
      if (descriptor.kind !== 'directory') return descriptor;
      const inode = tree.use(descriptor.at, ({ status }) =>
        status?.isDirectory() === true ? inodeOf(status) : undefined,
      );
      if (inode === undefined) missing.push(`the directory ${tree.pathOf(descriptor.at)} is not there`);
      return { ...descriptor, inode: inode ?? descriptor.inode };
    });
    refuse(missing, onChange === undefined ? changed : []);
    if (onChange !== undefined)
      for (const text of changed) onChange(`${text}, as it was at the checkpoint; going on with it all the same`);
    const asides = state.asides.flatMap(({ at }) => {
      // Only what Continuo itself set aside may be removed as such.
      if (!basename(at.path).startsWith(ASIDE_PREFIX)) return [];
      const status = tree.use(at, (entry) => entry.status);
      return status === undefined ? [] : [{ at, inode: inodeOf(status) }];
    });
    // What the process's own streams are here is not what they were there.
    const streams = state.output.streams.map((stream) => ({ ...stream, fileBytes: null }));
    return { ...state, files, descriptors, asides, output: { ...state.output, streams } };
  } finally {
    tree.close();
  }
}

/** The file of a standard stream is known as that from now on, wherever it is. */
function movedLocation(config: WasiConfig, streams: RecordedFiles['streams'], at: Location): Location {
  const targets = [config.stdin, config.stdout, config.stderr];
  for (const [index, location] of streams.entries()) {
    const target = targets[index];
    if (location === null || target?.kind !== 'file' || location.root !== at.root || location.path !== at.path)
      continue;
    return { root: config.preopens.length + index, path: basename(realPathOf(target.path)) };
  }
  return at;
}

function differenceOf(
  descriptor: number,
  status: fs.BigIntStats,
  { lengthBytes, mayBeLonger, sha256 }: FileEvidence,
): { readonly text: string; readonly isShort: boolean } | undefined {
  const sizeBytes = Number(status.size);
  if (!status.isFile()) return { text: 'is not a file', isShort: true };
  if (sizeBytes < lengthBytes)
    return { text: `has ${sizeBytes} bytes and should have ${lengthBytes}`, isShort: mayBeLonger };
  if (sizeBytes > lengthBytes && !mayBeLonger) {
    return { text: `has ${sizeBytes} bytes and should have ${lengthBytes}`, isShort: false };
  }
  if (digestOf(descriptor, lengthBytes) === sha256) return undefined;
  return { text: 'does not hold what it should', isShort: false };
}

function refuse(missing: readonly string[], changed: readonly string[]): void {
  const faults = [...missing, ...changed];
  if (faults.length === 0) return;
  const remedy =
    missing.length > 0
      ? 'copy them from where the job was, as they were at the checkpoint'
      : 'copy them from where the job was, as they were at the checkpoint, or go on with --accept-changes';
  throw new UsageError(
    'guest-file-changed',
    `files that the program has open are not what they were at the checkpoint: ${faults.join('; ')}; ${remedy}`,
    { files: faults },
  );
}
