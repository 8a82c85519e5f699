/** A hand-driven guest: calls host functions on a small memory, on our implementation or on Node's. */
import { WASI } from 'node:wasi';
import { FileDevice } from '../../src/device/file-device.ts';
import type { Device } from '../../src/device/device.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { BIAS_BYTES, BIAS_WASM_PAGES } from '../../src/memory/layout.ts';
import type { Blocking, WasiConfig } from '../../src/wasi/config.ts';
import { Wasi } from '../../src/wasi/wasi.ts';
import type { WasiOptions } from '../../src/wasi/wasi.ts';
import type { WasiState } from '../../src/wasi/wasi-state.ts';
import { parseWasiState } from '../../src/wasi/wasi-state.ts';

const PATH = 0x1000;
const OTHER_PATH = 0x3000;
const LIST = 0x5000;
const RESULT = 0x6000;
const RECORD = 0x7000;
const DATA = 0x1_0000;
const WASM_PAGES = 8;

export const ALL_RIGHTS = (1n << 30n) - 1n;
export const DIRECTORY_RIGHTS = 0x0fbf_fe98n & ~(1n << 22n);
export const FILE_RIGHTS = 0x08e0_01ffn;
export const READ = 1 << 1;
export const WRITE = 1 << 6;
export const CREATE = 1;
export const DIRECTORY = 2;
export const EXCLUSIVE = 4;
export const TRUNCATE = 8;
export const APPEND = 1;
export const SET = 0;
export const CURRENT = 1;
export const END = 2;

export type Outcome = number | { errno: number; value: unknown };

/** What every call that gives something answers with when it fails. */
type Answer<Value> = { errno: number; value: Value | undefined };

export interface Host {
  call(name: string, ...args: (number | bigint)[]): number;
  /** The guest's memory from its address 0 on. */
  readonly bytes: Uint8Array;
  close(): void;
}

/** Never waits: what would wait is told that a capture was requested. */
export const impatient: Blocking = {
  waitUntil: (deadlineMs) => (deadlineMs <= performance.now() ? 'elapsed' : 'interrupted'),
  readInput: () => 'interrupted',
  waitForInput: () => 'interrupted',
  peekInput: () => new Uint8Array(),
  captureRequested: () => true,
  stopRequested: () => false,
};

export function config(directory: string, more: Partial<WasiConfig> = {}): WasiConfig {
  return {
    arguments: ['program', 'first', 'zweites Wort'],
    environment: [
      ['NAME', 'value'],
      ['EMPTY', ''],
    ],
    preopens: [{ guestPath: '/', hostPath: directory }],
    stdin: { kind: 'empty' },
    stdout: { kind: 'sink', write: () => undefined },
    stderr: { kind: 'sink', write: () => undefined },
    outputMode: 'immediate',
    ...more,
  };
}

function newMemory(): GuestMemory {
  const pages = BIAS_WASM_PAGES + WASM_PAGES;
  return new GuestMemory(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
}

/** One for all hosts of a test file: nothing in it outlives a call, and making it is most of the work of a host. */
let sharedMemory: GuestMemory | undefined;

export class OurHost implements Host {
  readonly wasi: Wasi;
  readonly #memory: GuestMemory;

  constructor(settings: WasiConfig, options: WasiOptions = {}, blocking: Blocking = impatient) {
    sharedMemory ??= newMemory();
    this.#memory = sharedMemory;
    this.wasi = new Wasi(settings, this.#memory, blocking, options);
  }

  call(name: string, ...args: (number | bigint)[]): number {
    const call = this.wasi.imports[name];
    if (call === undefined) throw new Error(`there is no host function ${name}`);
    return call(...(args as never[]));
  }

  get bytes(): Uint8Array {
    return this.#memory.bytes.subarray(BIAS_BYTES);
  }

  /** Captures and commits, and returns the state as a checkpoint would give it back. */
  checkpoint(): WasiState {
    const state = this.capture();
    this.wasi.beforeCommit();
    this.wasi.afterCommit();
    return state;
  }

  capture(): WasiState {
    return parseWasiState(JSON.parse(JSON.stringify(this.wasi.captureState())));
  }

  close(): void {
    this.wasi.close();
  }
}

type HostFunctions = Record<string, (...args: (number | bigint)[]) => number>;

export class NodeHost implements Host {
  readonly #memory = new WebAssembly.Memory({ initial: WASM_PAGES });
  readonly #imports: HostFunctions;

  constructor(settings: WasiConfig) {
    const wasi = new WASI({
      version: 'preview1',
      args: [...settings.arguments],
      env: Object.fromEntries(settings.environment),
      preopens: Object.fromEntries(settings.preopens.map(({ guestPath, hostPath }) => [guestPath, hostPath])),
      returnOnExit: true,
    });
    wasi.initialize({ exports: { memory: this.#memory, _initialize: () => undefined } });
    this.#imports = wasi.wasiImport as HostFunctions;
  }

  call(name: string, ...args: (number | bigint)[]): number {
    return this.#imports[name]!(...args);
  }

  get bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer);
  }

  close(): void {}
}

export function jobDevice(directory: string): Device {
  return new FileDevice(directory);
}

export interface FileStat {
  type: number;
  links: number;
  size: number;
}

/** The calls, with their arguments and results as JavaScript has them. */
export class Guest {
  readonly host: Host;

  constructor(host: Host) {
    this.host = host;
  }

  get #view(): DataView {
    const { bytes } = this.host;
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #text(address: number, text: string | Uint8Array): [number, number] {
    const bytes = typeof text === 'string' ? Buffer.from(text, 'utf8') : text;
    this.host.bytes.set(bytes, address);
    return [address, bytes.length];
  }

  #answer<Value>(errno: number, read: () => Value): Answer<Value> {
    return { errno, value: errno === 0 ? read() : undefined };
  }

  result32(): number {
    return this.#view.getUint32(RESULT, true);
  }

  result64(): number {
    return Number(this.#view.getBigUint64(RESULT, true));
  }

  open(
    directory: number,
    path: string | Uint8Array,
    options: { oflags?: number; rights?: bigint; inheriting?: bigint; fdflags?: number; follow?: boolean } = {},
  ): Answer<number> {
    const { oflags = 0, rights = FILE_RIGHTS, inheriting = 0n, fdflags = 0, follow = true } = options;
    const [address, length] = this.#text(PATH, path);
    const errno = this.host.call(
      'path_open',
      directory,
      follow ? 1 : 0,
      address,
      length,
      oflags,
      rights,
      inheriting,
      fdflags,
      RESULT,
    );
    return this.#answer(errno, () => this.result32());
  }

  openDirectory(directory: number, path: string): Answer<number> {
    return this.open(directory, path, {
      oflags: DIRECTORY,
      rights: DIRECTORY_RIGHTS,
      inheriting: DIRECTORY_RIGHTS | FILE_RIGHTS,
    });
  }

  /** Stores the pieces one after the other, with gaps, and a list of them. */
  #list(pieces: readonly Uint8Array[]): number {
    let at = DATA;
    for (const [index, piece] of pieces.entries()) {
      this.host.bytes.set(piece, at);
      this.#view.setUint32(LIST + 8 * index, at, true);
      this.#view.setUint32(LIST + 8 * index + 4, piece.length, true);
      at += piece.length + 16;
    }
    return pieces.length;
  }

  write(descriptor: number, ...pieces: (string | Uint8Array)[]): Answer<number> {
    const count = this.#list(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece)));
    const errno = this.host.call('fd_write', descriptor, LIST, count, RESULT);
    return this.#answer(errno, () => this.result32());
  }

  pwrite(descriptor: number, offset: number, text: string | Uint8Array): Answer<number> {
    const count = this.#list([typeof text === 'string' ? Buffer.from(text) : text]);
    const errno = this.host.call('fd_pwrite', descriptor, LIST, count, BigInt(offset), RESULT);
    return this.#answer(errno, () => this.result32());
  }

  #readPieces(lengths: readonly number[], call: (count: number) => number): Answer<string> {
    const count = this.#list(lengths.map((length) => new Uint8Array(length)));
    const errno = call(count);
    return this.#answer(errno, () => {
      let left = this.result32();
      let at = DATA;
      let text = '';
      for (const length of lengths) {
        text += Buffer.from(this.host.bytes.slice(at, at + Math.min(left, length))).toString('latin1');
        left -= Math.min(left, length);
        at += length + 16;
      }
      return text;
    });
  }

  read(descriptor: number, ...lengths: number[]): Answer<string> {
    return this.#readPieces(lengths, (count) => this.host.call('fd_read', descriptor, LIST, count, RESULT));
  }

  pread(descriptor: number, offset: number, ...lengths: number[]): Answer<string> {
    return this.#readPieces(lengths, (count) =>
      this.host.call('fd_pread', descriptor, LIST, count, BigInt(offset), RESULT),
    );
  }

  seek(descriptor: number, offset: number, whence: number): Answer<number> {
    const errno = this.host.call('fd_seek', descriptor, BigInt(offset), whence, RESULT);
    return this.#answer(errno, () => this.result64());
  }

  tell(descriptor: number): Answer<number> {
    const errno = this.host.call('fd_tell', descriptor, RESULT);
    return this.#answer(errno, () => this.result64());
  }

  close(descriptor: number): number {
    return this.host.call('fd_close', descriptor);
  }

  #path(name: string, directory: number, path: string | Uint8Array, ...rest: (number | bigint)[]): number {
    return this.host.call(name, directory, ...this.#text(PATH, path), ...rest);
  }

  makeDirectory(directory: number, path: string | Uint8Array): number {
    return this.#path('path_create_directory', directory, path);
  }

  removeDirectory(directory: number, path: string | Uint8Array): number {
    return this.#path('path_remove_directory', directory, path);
  }

  unlink(directory: number, path: string | Uint8Array): number {
    return this.#path('path_unlink_file', directory, path);
  }

  rename(directory: number, from: string, otherDirectory: number, to: string): number {
    return this.host.call(
      'path_rename',
      directory,
      ...this.#text(PATH, from),
      otherDirectory,
      ...this.#text(OTHER_PATH, to),
    );
  }

  link(directory: number, from: string, otherDirectory: number, to: string, follow = false): number {
    return this.host.call(
      'path_link',
      directory,
      follow ? 1 : 0,
      ...this.#text(PATH, from),
      otherDirectory,
      ...this.#text(OTHER_PATH, to),
    );
  }

  symlink(target: string, directory: number, path: string): number {
    return this.host.call('path_symlink', ...this.#text(PATH, target), directory, ...this.#text(OTHER_PATH, path));
  }

  readlink(directory: number, path: string, bufferBytes = 256): Answer<string> {
    const errno = this.#path('path_readlink', directory, path, DATA, bufferBytes, RESULT);
    return this.#answer(errno, () => Buffer.from(this.host.bytes.slice(DATA, DATA + this.result32())).toString());
  }

  #stat(): FileStat {
    return {
      type: this.#view.getUint8(RECORD + 16),
      links: Number(this.#view.getBigUint64(RECORD + 24, true)),
      size: Number(this.#view.getBigUint64(RECORD + 32, true)),
    };
  }

  /** Device, inode, access, modification and change time of the record read last. */
  identity(): bigint[] {
    return [0, 8, 40, 48, 56].map((at) => this.#view.getBigUint64(RECORD + at, true));
  }

  stat(directory: number, path: string | Uint8Array, follow = true): Answer<FileStat> {
    const [address, length] = this.#text(PATH, path);
    const errno = this.host.call('path_filestat_get', directory, follow ? 1 : 0, address, length, RECORD);
    return this.#answer(errno, () => this.#stat());
  }

  statOf(descriptor: number): Answer<FileStat> {
    const errno = this.host.call('fd_filestat_get', descriptor, RECORD);
    return this.#answer(errno, () => this.#stat());
  }

  setTimes(directory: number, path: string, accessNs: bigint, modifyNs: bigint, flags: number, follow = true): number {
    const [address, length] = this.#text(PATH, path);
    return this.host.call(
      'path_filestat_set_times',
      directory,
      follow ? 1 : 0,
      address,
      length,
      accessNs,
      modifyNs,
      flags,
    );
  }

  setSize(descriptor: number, size: number): number {
    return this.host.call('fd_filestat_set_size', descriptor, BigInt(size));
  }

  status(descriptor: number): Answer<{ type: number; flags: number; rights: bigint; inheriting: bigint }> {
    const errno = this.host.call('fd_fdstat_get', descriptor, RECORD);
    return this.#answer(errno, () => ({
      type: this.#view.getUint8(RECORD),
      flags: this.#view.getUint16(RECORD + 2, true),
      rights: this.#view.getBigUint64(RECORD + 8, true),
      inheriting: this.#view.getBigUint64(RECORD + 16, true),
    }));
  }

  /** One call of `fd_readdir`: whole entries only. */
  readdir(
    descriptor: number,
    cookie: bigint,
    bufferBytes = 4096,
  ): Answer<{ used: number; entries: { next: bigint; inode: bigint; type: number; name: string }[] }> {
    const errno = this.host.call('fd_readdir', descriptor, DATA, bufferBytes, cookie, RESULT);
    return this.#answer(errno, () => {
      const used = this.result32();
      const entries = [];
      for (let at = DATA; at + 24 <= DATA + used;) {
        const length = this.#view.getUint32(at + 16, true);
        if (at + 24 + length > DATA + used) break;
        entries.push({
          next: this.#view.getBigUint64(at, true),
          inode: this.#view.getBigUint64(at + 8, true),
          type: this.#view.getUint8(at + 20),
          name: Buffer.from(this.host.bytes.slice(at + 24, at + 24 + length)).toString('latin1'),
        });
        at += 24 + length;
      }
      return { used, entries };
    });
  }

  /** Names in a directory, sorted. */
  names(descriptor: number): string[] {
    const all: string[] = [];
    let cookie = 0n;
    for (;;) {
      const answer = this.readdir(descriptor, cookie);
      if (answer.value === undefined) throw new Error(`fd_readdir: ${answer.errno}`);
      for (const entry of answer.value.entries) if (entry.name !== '.' && entry.name !== '..') all.push(entry.name);
      if (answer.value.used < 4096) return all.sort();
      cookie = answer.value.entries.at(-1)!.next;
    }
  }

  /** Stores words and reads them back, for calls that have no method here. */
  view(): DataView {
    return this.#view;
  }
}
