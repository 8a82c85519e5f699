import { StorageError } from '../../src/error/errors.ts';
import type { Device, DeviceFile, OpenMode } from '../../src/device/device.ts';

export const SECTOR_BYTES = 512;

/** An operation on the medium, in the order in which it was asked for. */
export type Operation =
  | { readonly kind: 'write'; readonly file: number; readonly atBytes: number; readonly bytes: Uint8Array }
  | { readonly kind: 'size'; readonly file: number; readonly sizeBytes: number }
  | { readonly kind: 'sync'; readonly file: number }
  | { readonly kind: 'link'; readonly name: string; readonly file: number }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }
  | { readonly kind: 'remove'; readonly name: string }
  | { readonly kind: 'syncDirectory' };

/** What a medium holds: files by number, and names for them. */
export interface Medium {
  readonly files: ReadonlyMap<number, Uint8Array>;
  readonly names: ReadonlyMap<string, number>;
}

export const EMPTY_MEDIUM: Medium = { files: new Map(), names: new Map() };

/**
 * A job directory in memory that keeps a log of everything asked of it. `onOperation` may throw, to make an operation
 * fail before it has an effect.
 */
export class CrashDevice implements Device {
  readonly path = '/crash-device';
  readonly log: Operation[] = [];
  onOperation: (operation: Operation) => void = () => {};
  /** Called before each read. */
  onRead: (atBytes: number) => void = () => {};
  readonly start: Medium;
  readonly #files = new Map<number, GrowingBytes>();
  readonly #names: Map<string, number>;
  #nextFile: number;

  constructor(start: Medium = EMPTY_MEDIUM) {
    this.start = start;
    for (const [file, bytes] of start.files) this.#files.set(file, new GrowingBytes(bytes));
    this.#names = new Map(start.names);
    this.#nextFile = Math.max(0, ...start.files.keys()) + 1;
  }

  list(): string[] {
    return [...this.#names.keys()].sort();
  }

  openFile(name: string, mode: OpenMode): DeviceFile {
    let file = this.#names.get(name);
    if (file === undefined) {
      if (mode !== 'create') throw new StorageError(`cannot open ${name}: there is no such file`);
      file = this.#nextFile++;
      this.#do({ kind: 'link', name, file });
      this.#files.set(file, new GrowingBytes(new Uint8Array(0)));
      this.#names.set(name, file);
    } else if (mode === 'create') {
      this.#setSize(file, 0);
    }
    return this.#open(file, `${this.path}/${name}`);
  }

  rename(from: string, to: string): void {
    this.#do({ kind: 'rename', from, to });
    this.#names.set(to, this.#names.get(from)!);
    this.#names.delete(from);
  }

  remove(name: string): void {
    this.#do({ kind: 'remove', name });
    this.#names.delete(name);
  }

  syncDirectory(): void {
    this.#do({ kind: 'syncDirectory' });
  }

  #do(operation: Operation): void {
    this.onOperation(operation);
    this.log.push(operation);
  }

  #setSize(file: number, sizeBytes: number): void {
    this.#do({ kind: 'size', file, sizeBytes });
    this.#files.get(file)!.resize(sizeBytes);
  }

  #open(file: number, path: string): DeviceFile {
    const content = this.#files.get(file)!;
    return {
      path,
      readInto: (view, positionBytes) => {
        this.onRead(positionBytes);
        return content.read(view, positionBytes);
      },
      write: (view, atBytes) => {
        const bytes = Uint8Array.from(view);
        this.#do({ kind: 'write', file, atBytes, bytes });
        content.write(bytes, atBytes);
      },
      sync: () => this.#do({ kind: 'sync', file }),
      sizeBytes: () => content.sizeBytes,
      truncate: (sizeBytes) => this.#setSize(file, sizeBytes),
      close: () => {},
    };
  }
}

class GrowingBytes {
  sizeBytes: number;
  #bytes: Uint8Array;
  /** Nobody else's: what was given is copied before the first change of it. */
  #isOwn = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.sizeBytes = bytes.length;
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.sizeBytes);
  }

  read(view: Uint8Array, atBytes: number): number {
    const source = this.bytes.subarray(atBytes, atBytes + view.length);
    view.set(source);
    return source.length;
  }

  write(bytes: Uint8Array, atBytes: number): void {
    if (atBytes + bytes.length > this.sizeBytes) this.resize(atBytes + bytes.length);
    this.#own();
    this.#bytes.set(bytes, atBytes);
  }

  resize(sizeBytes: number): void {
    if (sizeBytes > this.#bytes.length) {
      const bytes = new Uint8Array(Math.max(sizeBytes, 2 * this.#bytes.length));
      bytes.set(this.#bytes);
      this.#bytes = bytes;
      this.#isOwn = true;
    } else if (sizeBytes < this.sizeBytes) {
      this.#own();
      this.#bytes.fill(0, sizeBytes, this.sizeBytes);
    }
    this.sizeBytes = sizeBytes;
  }

  #own(): void {
    if (!this.#isOwn) this.#bytes = Uint8Array.from(this.#bytes);
    this.#isOwn = true;
  }
}

/** What became of an unsynced operation: all of it, nothing, or (of a write) the sectors for which the answer is true. */
export type Fate = boolean | ((sector: number) => boolean);

/**
 * The medium after a power failure. `log` is what was asked for until then; `fate` says what became of each operation
 * that no sync covers. With `sizesLost` no file is longer than its last sync left it.
 */
export function crash(
  start: Medium,
  log: readonly Operation[],
  fate: (operation: Operation, index: number) => Fate,
  sizesLost = false,
): Medium {
  const files = new Map<number, GrowingBytes>();
  for (const [file, bytes] of start.files) files.set(file, new GrowingBytes(bytes));
  const names = new Map(start.names);
  const durableSizes = new Map<number, number>();
  for (const [file, bytes] of start.files) durableSizes.set(file, bytes.length);
  const lastSync = new Map<number | 'directory', number>();
  log.forEach((operation, index) => {
    if (operation.kind === 'sync') lastSync.set(operation.file, index);
    if (operation.kind === 'syncDirectory') lastSync.set('directory', index);
  });
  log.forEach((operation, index) => {
    if (operation.kind === 'sync') {
      durableSizes.set(operation.file, files.get(operation.file)!.sizeBytes);
      return;
    }
    if (operation.kind === 'syncDirectory') return;
    const target = 'file' in operation && operation.kind !== 'link' ? operation.file : 'directory';
    const covered = index < (lastSync.get(target) ?? -1);
    if (operation.kind === 'link' && !files.has(operation.file))
      files.set(operation.file, new GrowingBytes(new Uint8Array(0)));
    const outcome = covered || fate(operation, index);
    if (outcome === false) return;
    if (operation.kind === 'write') applyWrite(files.get(operation.file)!, operation.bytes, operation.atBytes, outcome);
    else if (operation.kind === 'size') files.get(operation.file)!.resize(operation.sizeBytes);
    else if (operation.kind === 'link') names.set(operation.name, operation.file);
    else if (operation.kind === 'remove') names.delete(operation.name);
    else if (names.has(operation.from)) {
      names.set(operation.to, names.get(operation.from)!);
      names.delete(operation.from);
    }
  });
  if (sizesLost) {
    for (const [file, content] of files) content.resize(Math.min(content.sizeBytes, durableSizes.get(file) ?? 0));
  }
  return { files: new Map([...files].map(([file, content]) => [file, content.bytes])), names };
}

function applyWrite(content: GrowingBytes, bytes: Uint8Array, atBytes: number, outcome: Fate): void {
  if (outcome === true) return content.write(bytes, atBytes);
  if (outcome === false) return;
  for (let from = 0, sector = 0; from < bytes.length; from += SECTOR_BYTES, sector++) {
    if (outcome(sector)) content.write(bytes.subarray(from, from + SECTOR_BYTES), atBytes + from);
  }
}

/** Numbers of the operations of a log that no sync covers: those whose fate is open. */
export function openOperations(log: readonly Operation[]): number[] {
  const open: number[] = [];
  log.forEach((operation, index) => {
    if (operation.kind === 'sync' || operation.kind === 'syncDirectory') return;
    const covered = log
      .slice(index)
      .some((later) =>
        'file' in operation && operation.kind !== 'link'
          ? later.kind === 'sync' && later.file === operation.file
          : later.kind === 'syncDirectory',
      );
    if (!covered) open.push(index);
  });
  return open;
}
