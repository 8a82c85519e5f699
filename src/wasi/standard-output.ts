/**
 * Standard output and error: what the guest has produced, what has left the process, and what waits for a commit.
 *
 * A restart must neither lose nor repeat output. Of an inherited regular file the checkpoint knows the size, and the
 * restart cuts it. A terminal or pipe takes nothing back: a small file in the job directory counts what has gone into
 * it (*released* bytes), so that a restart can say what it shows again, or, in commit mode, release only the rest.
 *
 * The count and the bytes go to the system by two calls, and a process can be killed between them: no order of the two, and no
 * third call, makes one of both. So the file says first how many bytes are about to leave (*leaving*), and then that they
 * have. A restart that finds bytes leaving cannot know whether they did: it lets them out, so that nothing is lost, and says
 * that they may be there twice. In every other case each byte of held output leaves once.
 *
 * Each stream is held or not, by the mode and by what it is; a restart may hold what the run before let out at once, and
 * the other way round: what a checkpoint says was held leaves in either case.
 */
import type { BigIntStats } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { Device, DeviceFile } from '../device/device.ts';
import { UsageError } from '../error/errors.ts';
import type { Blocking, OutputMode, OutputTarget } from './config.ts';
import { Errno, refuse, systemCode } from './errno.ts';
import type { HeldPart } from './held-output.ts';
import { HeldOutput, isHeldName } from './held-output.ts';
import type { OutputPort } from './output-port.ts';
import { InheritedPort, SinkPort } from './output-port.ts';
import type { StandardStream } from './standard-stream.ts';

/** How long to wait before asking a full pipe again, in milliseconds: at first, and after many times in vain. */
const RETRY_MS_MIN = 0.05;
const RETRY_MS_MAX = 2;
const STREAM_NAMES = ['standard output', 'standard error'] as const;
export const COUNT_FILE = 'output-released';
/** Released bytes u64 of both streams, leaving bytes u32 of both, CRC-32 of these: little-endian. */
const COUNT_BYTES = 28;

export interface OutputStreamState {
  producedBytes: number;
  releasedBytes: number;
  /** Size of the inherited regular file; null for anything else. */
  fileBytes: number | null;
}

export interface StandardOutputState {
  streams: OutputStreamState[];
  held: HeldPart[];
}

/** What happens to output that people, or the run, should know. */
export interface OutputEvents {
  readonly notice: (text: string) => void;
  /** Storage failed: whether the guest goes on without it. */
  readonly goesOnAfter: (error: unknown) => boolean;
}

/** One of the two streams as the guest writes to it. */
export class OutputStream implements StandardStream {
  readonly port: OutputPort;
  producedBytes = 0;
  releasedBytes = 0;
  /** Given to the system just now, which may have taken them or not. */
  leavingBytes = 0;
  /** Nobody reads any more: what is still held for it is dropped. */
  broken = false;
  /** Its bytes wait for a commit. */
  readonly isHeld: boolean;
  readonly #index: number;
  readonly #outputs: StandardOutput;

  constructor(port: OutputPort, isHeld: boolean, index: number, outputs: StandardOutput) {
    this.port = port;
    this.isHeld = isHeld;
    this.#index = index;
    this.#outputs = outputs;
  }

  get fileType(): number {
    return this.port.fileType;
  }

  status(): BigIntStats | undefined {
    return this.port.status();
  }

  read(): never {
    return refuse(Errno.badf);
  }

  write(bytes: Uint8Array): number | 'interrupted' {
    if (bytes.length === 0) return 0;
    if (this.broken) return refuse(Errno.pipe);
    const count = this.#outputs.write(this.#index, bytes);
    if (count !== 'interrupted') this.producedBytes += count;
    return count;
  }

  readableBytes(): number {
    return 0;
  }
}

export class StandardOutput {
  /** Undefined where a stream is a file that Continuo opened: the guest writes to it as to any file. */
  readonly streams: readonly (OutputStream | undefined)[];
  readonly #blocking: Blocking;
  readonly #held: HeldOutput | undefined;
  #countFile: DeviceFile | undefined;
  readonly #goesOnAfter: (error: unknown) => boolean;
  /** No checkpoint will ever cover what is written now. */
  #letsOut = false;
  /** What is held is being let out, which a failure on the way must not begin anew. */
  #isReleasing = false;
  /** Where in each stream the output begins that is still held. */
  #releasePositions: readonly number[] = [0, 0];
  readonly #countRecord = Buffer.alloc(COUNT_BYTES);

  constructor(
    targets: readonly OutputTarget[],
    mode: OutputMode,
    blocking: Blocking,
    device: Device | undefined,
    generation: number,
    state: StandardOutputState | undefined,
    { notice, goesOnAfter }: OutputEvents,
  ) {
    this.#blocking = blocking;
    this.#goesOnAfter = goesOnAfter;
    if (mode === 'commit' && device === undefined) {
      throw new UsageError('bad-argument', 'output can be held until a commit only by a job');
    }
    this.streams = targets.map((target, index) => {
      if (target.kind === 'file') return undefined;
      const port = target.kind === 'inherit' ? new InheritedPort(index + 1) : new SinkPort(target.write);
      return new OutputStream(port, device !== undefined && isHeld(mode, port), index, this);
    });
    const heldBefore = state?.held ?? [];
    if (device !== undefined && (heldBefore.length > 0 || this.streams.some((stream) => stream?.isHeld))) {
      this.#held = new HeldOutput(device, generation, heldBefore);
    }
    // Of a state that was gone back to: what was held then has left since (`withoutHeldOutput`).
    const hasLeft = heldBefore.length === 0;
    this.#releasePositions = this.streams.map((_, index) => {
      const before = state?.streams[index];
      return (hasLeft ? before?.producedBytes : before?.releasedBytes) ?? 0;
    });
    const counts = state === undefined || device === undefined ? undefined : readCounts(device);
    // A file can be looked at, but not by whoever moves the job to another machine.
    const isCounted = this.streams.some((stream) => stream !== undefined && (stream.isHeld || countsFor(stream.port)));
    if (device !== undefined && (isCounted || this.#held !== undefined)) {
      const exists = device.list().includes(COUNT_FILE);
      this.#countFile = device.openFile(COUNT_FILE, exists ? 'write' : 'create');
    }
    for (const [index, stream] of this.streams.entries()) {
      const streamState = state?.streams[index];
      if (stream === undefined || streamState === undefined) continue;
      const heldBytes = this.#heldBytesOf(stream, state!);
      const { fileBytes, producedBytes } = streamState;
      const restored = hasLeft
        ? { producedBytes, releasedBytes: producedBytes, fileBytes: fileBytes === null ? null : fileBytes + heldBytes }
        : streamState;
      this.#restore(stream, index, restored, counts?.[index], hasLeft ? 0 : heldBytes, notice);
    }
    this.#storeCounts();
    this.release();
  }

  /** Bytes that a state holds for the file that a stream goes to, which may be that of both. */
  #heldBytesOf(stream: OutputStream, state: StandardOutputState): number {
    const status = stream.status();
    let heldBytes = 0;
    for (const [index, other] of this.streams.entries()) {
      const otherStatus = other?.status();
      if (status?.ino !== otherStatus?.ino || status?.dev !== otherStatus?.dev) continue;
      const { producedBytes, releasedBytes } = state.streams[index];
      heldBytes += producedBytes - releasedBytes;
    }
    return heldBytes;
  }

  #restore(
    stream: OutputStream,
    index: number,
    state: OutputStreamState,
    counts: OutputCounts | undefined,
    heldBytes: number,
    notice: (text: string) => void,
  ): void {
    const name = STREAM_NAMES[index];
    stream.producedBytes = state.producedBytes;
    stream.releasedBytes = state.releasedBytes;
    const { port } = stream;
    if (port instanceof InheritedPort && port.isRegularFile) {
      const wantedBytes = state.fileBytes ?? Infinity;
      const foundBytes = port.continueAt(wantedBytes);
      if (state.fileBytes !== null && foundBytes < wantedBytes) {
        notice(
          `${name} lacks ${wantedBytes - foundBytes} bytes that the program had written before the checkpoint; ` +
            'append to the same file (>>) to keep them',
        );
      }
      const lostBytes = foundBytes - wantedBytes - heldBytes;
      if (lostBytes > 0) {
        notice(
          `${lostBytes} bytes were cut from the end of the file that ${name} goes to: ` +
            'they were written after the checkpoint, and the program writes them again',
        );
      }
      // A file of known size was cut, and what was held leaves again. Of any other only the counts tell what it has.
      if (state.fileBytes !== null) return;
    }
    if (counts === undefined) return;
    const { releasedBytes, leavingBytes } = counts;
    if (leavingBytes > 0 && releasedBytes + leavingBytes > state.releasedBytes) {
      notice(
        `${leavingBytes} bytes of ${name} may be shown twice: the process was killed while they left, ` +
          'and nothing tells whether they did',
      );
    }
    if (releasedBytes <= state.releasedBytes) return;
    stream.releasedBytes = Math.min(releasedBytes, state.producedBytes);
    if (releasedBytes > state.producedBytes) {
      notice(
        `${releasedBytes - state.producedBytes} bytes of ${name} that were written after the checkpoint are shown again`,
      );
    }
  }

  /** Whether bytes wait for a commit. */
  get holdsAny(): boolean {
    return this.#held?.isEmpty === false;
  }

  /** Takes bytes of the guest; returns how many. */
  write(index: number, bytes: Uint8Array): number | 'interrupted' {
    const stream = this.streams[index]!;
    if (this.#held !== undefined && stream.isHeld && !this.#letsOut) {
      const heldBytes = this.#hold(this.#held, index, bytes);
      if (heldBytes > 0) return heldBytes;
    }
    for (let retryMs = RETRY_MS_MIN; ; retryMs = Math.min(2 * retryMs, RETRY_MS_MAX)) {
      const count = this.#giveOut(stream, bytes);
      if (count > 0) return count;
      if (this.#blocking.waitUntil(performance.now() + retryMs) === 'interrupted') return 'interrupted';
    }
  }

  /** Holds bytes back; returns how many, which are fewer where storage failed and what was held has left. */
  #hold(held: HeldOutput, index: number, bytes: Uint8Array): number {
    try {
      return held.append(index, bytes);
    } catch (error) {
      if (!this.#goesOnAfter(error)) throw error;
      return held.takenBytes;
    }
  }

  captureState(): StandardOutputState {
    const held = this.#held?.capture() ?? [];
    return {
      held: [...held],
      streams: this.streams.map((stream) => ({
        producedBytes: stream?.producedBytes ?? 0,
        releasedBytes: stream?.releasedBytes ?? 0,
        fileBytes: stream?.port instanceof InheritedPort && stream.port.isRegularFile ? stream.port.sizeBytes() : null,
      })),
    };
  }

  /** Makes durable what a state just captured holds back. */
  sync(): void {
    this.#held?.sync();
  }

  /**
   * Lets out what the committed checkpoints cover, but not what left the process before a kill interrupted its release.
   * A stop does not wait for a reader that takes nothing: what is left stays held for the next run, and no state may be
   * captured in this one any more.
   */
  release(): void {
    if (this.#isReleasing) return;
    this.#isReleasing = true;
    try {
      this.#releaseParts();
      // Storage failed on the way, and no commit will let the rest out.
      if (!this.#letsOut || this.#held === undefined || this.#held.isEmpty) return;
      this.#held.capture();
      this.#releaseParts();
    } finally {
      this.#isReleasing = false;
    }
  }

  #releaseParts(): void {
    const positions = [...this.#releasePositions];
    const released = this.#held?.releaseAll((index, bytes) => {
      const stream = this.streams[index];
      const start = positions[index];
      positions[index] = start + bytes.length;
      if (stream === undefined) return true;
      const done = Math.max(0, Math.min(bytes.length, stream.releasedBytes - start));
      return this.#releaseBytes(stream, bytes.subarray(done));
    });
    if (released === true) this.#releasePositions = positions;
  }

  /** Lets out what is held, and holds nothing back from now on. */
  stopHolding(): void {
    this.#letsOut = true;
    this.release();
  }

  /** The program ended without another checkpoint: what it wrote since the last one leaves as well. */
  releaseUncommitted(): void {
    this.#held?.capture();
    this.release();
  }

  /** Returns whether all of them left, or nobody wants them. */
  #releaseBytes(stream: OutputStream, bytes: Uint8Array): boolean {
    let rest = bytes;
    let retryMs = RETRY_MS_MIN;
    while (rest.length > 0 && !stream.broken) {
      try {
        const count = this.#giveOut(stream, rest);
        // A file can be looked at, but not by whoever moves the job to another machine.
        if (!countsFor(stream.port)) this.#storeCounts();
        if (count === 0) {
          if (this.#blocking.stopRequested()) return false;
          pause(retryMs);
        }
        retryMs = count === 0 ? Math.min(2 * retryMs, RETRY_MS_MAX) : RETRY_MS_MIN;
        rest = rest.subarray(count);
      } catch (error) {
        if (systemCode(error) !== 'EPIPE') throw error;
        stream.broken = true;
      }
    }
    return true;
  }

  /** Gives bytes to a port, as many as it takes now; the count file knows before that they leave, and after that they have. */
  #giveOut(stream: OutputStream, bytes: Uint8Array): number {
    if (this.#countFile === undefined || !countsFor(stream.port)) {
      const count = stream.port.tryWrite(bytes);
      stream.releasedBytes += count;
      return count;
    }
    stream.leavingBytes = bytes.length;
    this.#storeCounts();
    try {
      const count = stream.port.tryWrite(bytes);
      stream.releasedBytes += count;
      return count;
    } finally {
      stream.leavingBytes = 0;
      this.#storeCounts();
    }
  }

  #storeCounts(): void {
    if (this.#countFile === undefined) return;
    encodeCounts(
      this.#countRecord,
      this.streams.map((stream) => ({
        releasedBytes: stream?.releasedBytes ?? 0,
        leavingBytes: stream?.leavingBytes ?? 0,
      })),
    );
    const file = this.#countFile;
    try {
      file.write(this.#countRecord, 0);
    } catch (error) {
      this.#countFile = undefined;
      file.close();
      if (!this.#goesOnAfter(error)) throw error;
    }
  }

  close(): void {
    this.#held?.close();
    this.#countFile?.close();
    for (const stream of this.streams) stream?.port.close();
  }
}

/**
 * A state of an older checkpoint, as it is to be gone on from: what it held back left when it was durable, before the checkpoint
 * after it was taken, and the files that held it have been used again.
 */
export function withoutHeldOutput(state: StandardOutputState): StandardOutputState {
  return { ...state, held: [] };
}

/** Whether a file of the job directory holds output, or counts it. */
export function isOutputName(name: string): boolean {
  return name === COUNT_FILE || isHeldName(name);
}

function isHeld(mode: OutputMode, port: OutputPort): boolean {
  if (mode === 'auto') return port instanceof InheritedPort && !port.isTerminal;
  return mode === 'commit';
}

/** Whether what goes through a port must be counted, because nothing else tells afterwards. */
function countsFor(port: OutputPort): boolean {
  return port instanceof InheritedPort && !port.isRegularFile;
}

interface OutputCounts {
  readonly releasedBytes: number;
  readonly leavingBytes: number;
}

/** Whether all that a state holds back has left the process since, so that its files may have been used again. */
export function allHasLeft({ streams }: StandardOutputState, shownBytes: readonly number[] | null): boolean {
  return shownBytes !== null && streams.every(({ producedBytes }, index) => (shownBytes[index] ?? 0) >= producedBytes);
}

/** How many bytes of both streams have left, by the job directory; undefined where nothing there tells. */
export function readReleasedBytes(device: Device): number[] | undefined {
  return readCounts(device)?.map(({ releasedBytes }) => releasedBytes);
}

/** Puts what `readReleasedBytes` found in another directory into this one, at once and durably. */
export function writeReleasedBytes(device: Device, released: readonly number[]): void {
  const record = Buffer.alloc(COUNT_BYTES);
  encodeCounts(
    record,
    released.map((releasedBytes) => ({ releasedBytes, leavingBytes: 0 })),
  );
  const unfinished = `${COUNT_FILE}.new`;
  const file = device.openFile(unfinished, 'create');
  try {
    file.write(record, 0);
    file.sync();
  } finally {
    file.close();
  }
  device.rename(unfinished, COUNT_FILE);
  device.syncDirectory();
}

function encodeCounts(record: Buffer, counts: readonly OutputCounts[]): void {
  for (const [index, { releasedBytes, leavingBytes }] of counts.entries()) {
    record.writeUInt32LE(releasedBytes % 2 ** 32, 8 * index);
    record.writeUInt32LE(Math.floor(releasedBytes / 2 ** 32), 8 * index + 4);
    record.writeUInt32LE(leavingBytes, 16 + 4 * index);
  }
  record.writeUInt32LE(crc32(record.subarray(0, COUNT_BYTES - 4)), COUNT_BYTES - 4);
}

/** The counts of an earlier run; undefined where there are none that hold together. */
function readCounts(device: Device): OutputCounts[] | undefined {
  const counts = surveyCounts(device);
  return typeof counts === 'string' ? undefined : counts;
}

/** The counts in the job directory: `absent` where none were written, `damaged` where they do not hold together. */
export function surveyCounts(device: Device): OutputCounts[] | 'absent' | 'damaged' {
  if (!device.list().includes(COUNT_FILE)) return 'absent';
  const file = device.openFile(COUNT_FILE, 'read');
  try {
    const bytes = Buffer.alloc(COUNT_BYTES);
    const readBytes = file.readInto(bytes, 0);
    if (readBytes === 0) return 'absent';
    if (readBytes < COUNT_BYTES || bytes.readUInt32LE(COUNT_BYTES - 4) !== crc32(bytes.subarray(0, COUNT_BYTES - 4))) {
      return 'damaged';
    }
    return [0, 1].map((index) => ({
      releasedBytes: bytes.readUInt32LE(8 * index) + bytes.readUInt32LE(8 * index + 4) * 2 ** 32,
      leavingBytes: bytes.readUInt32LE(16 + 4 * index),
    }));
  } finally {
    file.close();
  }
}

const pauseCell = new Int32Array(new SharedArrayBuffer(4));

function pause(ms: number): void {
  Atomics.wait(pauseCell, 0, 0, ms);
}
