/**
 * WASI preview 1 whose state can be saved and restored.
 *
 * A machine makes one `Wasi` for a guest, calls its `imports`, and at each checkpoint, while the guest is stopped:
 * `captureState`, then `beforeCommit`, then commits, then `afterCommit`. The guest may run between `beforeCommit` and
 * `afterCommit`. Effects on files are undone by a restart from a state that was captured with a job directory; they are
 * recorded from the first capture on, which is best made before the guest's first instruction.
 */
import * as fs from 'node:fs';
import { basename } from 'node:path';
import type { Device } from '../device/device.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import {
  DIRECTORY_INHERITING_RIGHTS,
  DIRECTORY_RIGHTS,
  FileType,
  REGULAR_FILE_RIGHTS,
  Rights,
  STREAM_RIGHTS,
} from './abi.ts';
import type { Anchor, AnchorKind } from './anchor.ts';
import { availableAnchorKind } from './anchor.ts';
import { Asides } from './asides.ts';
import type { CallContext, CallTable } from './call-context.ts';
import { ChangeLog } from './change-log.ts';
import type { Blocking, InputSource, WasiConfig } from './config.ts';
import { DescriptorRestorer, STANDARD_INPUT, captureDescriptors, openInputFile } from './descriptor-state.ts';
import { DescriptorTable, DirectoryDescriptor, FileDescriptor, StreamDescriptor } from './descriptor.ts';
import { directoryCalls } from './directory-calls.ts';
import { errnoOf } from './errno.ts';
import { fileCalls } from './file-calls.ts';
import { FileContents } from './file-contents.ts';
import { FileNames } from './file-names.ts';
import { FileRegistry } from './file-registry.ts';
import { GuestClock } from './guest-clock.ts';
import { cannotOpen, openRoots, realPathOf } from './host-roots.ts';
import { HostTree } from './host-tree.ts';
import { KeptStates } from './kept-states.ts';
import type { OpenFile } from './open-file.ts';
import { pathCalls } from './path-calls.ts';
import { pollCalls } from './poll-calls.ts';
import { processCalls } from './process-calls.ts';
import { Rollback } from './rollback.ts';
import { StandardOutput, isOutputName } from './standard-output.ts';
import type { StandardStream } from './standard-stream.ts';
import { GivenInput, InheritedInput } from './standard-stream.ts';
import { UndoJournal, isJournalName } from './undo-journal.ts';
import type { WasiState } from './wasi-state.ts';

export interface WasiOptions {
  /** The job directory; without one, effects on files are not undone and output is not held. */
  readonly device?: Device;
  /** A state to go on from: the host's files are put back to it. */
  readonly state?: WasiState;
  /** The state was captured on another machine or its files were copied: files are known by their paths alone. */
  readonly relocated?: boolean;
  /** How many captured states are kept, the newest included; default 1. */
  readonly keep?: number;
  /** Generations of those that are kept already, before `state`, oldest first. */
  readonly keptGenerations?: readonly number[];
  /** Takes messages for the user, a sentence each. */
  readonly onNotice?: (text: string) => void;
  /** Storage failed while output was kept: whether the guest goes on without it. Default: it does not. */
  readonly goesOnAfter?: (error: unknown) => boolean;
  /** How directories are held; by default the safest way of this platform. */
  readonly anchorKind?: AnchorKind;
}

export class Wasi {
  /** Host functions of `wasi_snapshot_preview1`. */
  readonly imports: CallTable;
  readonly #context: CallContext;
  readonly #tree: HostTree;
  readonly #log: ChangeLog;
  readonly #registry: FileRegistry;
  readonly #asides: Asides;
  readonly #input: StandardStream | undefined;
  readonly #output: StandardOutput;
  readonly #kept: KeptStates;
  #closed = false;

  /**
   * Opens what the configuration names and, with a state, restores it.
   * Errors: UsageError where a directory or file is not there, StorageError, CorruptionError.
   */
  constructor(config: WasiConfig, memory: GuestMemory, blocking: Blocking, options: WasiOptions = {}) {
    const { device, state } = options;
    const notice = options.onNotice ?? (() => undefined);
    const kind = options.anchorKind ?? availableAnchorKind();
    const descriptors = new DescriptorTable();
    const roots = openRoots(config, kind, state === undefined);
    this.#tree = new HostTree(roots);
    this.#registry = new FileRegistry();

    let generation = state?.generation ?? 0;
    if (state !== undefined && device !== undefined && options.relocated !== true) {
      try {
        generation = new Rollback(this.#tree, notice).undoAll(device, generation);
      } catch (error) {
        this.#tree.close();
        throw error;
      }
    }
    if (state === undefined && device !== undefined) discardRunFiles(device);
    const earlier = [...(options.keptGenerations ?? []), ...(state === undefined ? [] : [state.generation])];
    this.#kept = new KeptStates(options.keep ?? 1, earlier);
    const oldestKept = this.#kept.oldest(generation);
    const journal = device === undefined ? undefined : new UndoJournal(device, generation, oldestKept);
    this.#log = new ChangeLog(this.#tree, journal, state !== undefined);
    this.#asides = new Asides(this.#tree);

    this.#input = openInput(config.stdin, blocking, state?.input);
    const targets = [config.stdout, config.stderr];
    this.#output = new StandardOutput(targets, config.outputMode, blocking, device, generation, state?.output, {
      notice,
      goesOnAfter: options.goesOnAfter ?? (() => false),
    });

    this.#context = {
      config,
      memory,
      descriptors,
      contents: new FileContents(this.#log, this.#registry),
      names: new FileNames(this.#log, this.#registry, this.#asides, descriptors),
      clock: new GuestClock(state?.clock),
      blocking,
      interruptedWaitStartMs: state?.waitStartMs ?? undefined,
      interruptedWriteBytes: state?.interruptedWriteBytes ?? 0,
    };
    try {
      if (state === undefined) this.#openFresh(roots);
      else this.#restore(state, options.relocated === true);
    } catch (error) {
      this.close();
      throw error;
    }
    this.imports = guarded({
      ...processCalls(this.#context),
      ...fileCalls(this.#context),
      ...directoryCalls(this.#context),
      ...pathCalls(this.#context),
      ...pollCalls(this.#context),
    });
  }

  get #streams(): (StandardStream | undefined)[] {
    return [this.#input, ...this.#output.streams];
  }

  #openFresh(roots: readonly (Anchor | undefined)[]): void {
    const { config, descriptors } = this.#context;
    for (const [index, stream] of this.#streams.entries()) {
      const unused = index === 0 ? Rights.fdWrite : Rights.fdRead;
      if (stream !== undefined) {
        descriptors.add(new StreamDescriptor(stream, stream.fileType, 0, STREAM_RIGHTS & ~unused));
      } else if (index === 0 && config.stdin.kind === 'inherit') {
        descriptors.add(openInputFile(this.#registry, 0, REGULAR_FILE_RIGHTS & ~WRITING_RIGHTS, 0));
      } else {
        const target = [config.stdin, config.stdout, config.stderr][index];
        const path = target.kind === 'file' ? target.path : '';
        descriptors.add(this.#openStandardFile(path, roots[config.preopens.length + index]!, index));
      }
    }
    for (const index of config.preopens.keys()) {
      const anchor = roots[index]!.duplicate();
      descriptors.add(new DirectoryDescriptor(anchor, index, 0, DIRECTORY_RIGHTS, DIRECTORY_INHERITING_RIGHTS));
    }
  }

  /** Opens the file of a standard stream, which for output begins empty. */
  #openStandardFile(path: string, parent: Anchor, index: number): FileDescriptor {
    const name = basename(realPathOf(path));
    const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = fs.constants;
    const access = index === 0 ? O_RDONLY : O_WRONLY;
    try {
      const flags = index === 0 ? access : access | O_CREAT | O_TRUNC;
      const hostDescriptor = fs.openSync(parent.entry(name), flags | O_NOFOLLOW | O_NONBLOCK, 0o666);
      const status = fs.fstatSync(hostDescriptor, { bigint: true });
      const file = this.#registry.open(status, parent.pathOf(name));
      if (index > 0) file.lengthRecorded = true;
      const rights = file.fileType === FileType.regularFile ? REGULAR_FILE_RIGHTS : STREAM_RIGHTS;
      const unused = index === 0 ? WRITING_RIGHTS : Rights.fdRead;
      // Two streams into one file must not overwrite each other.
      const flagsOfGuest = index > 0 && file.descriptorCount > 1 ? APPEND : 0;
      return new FileDescriptor(file, hostDescriptor, access, file.fileType, flagsOfGuest, rights & ~unused, 0, 0);
    } catch (error) {
      throw cannotOpen('the file', path, error);
    }
  }

  #restore(state: WasiState, relocated: boolean): void {
    const restorer = new DescriptorRestorer(this.#tree, this.#registry, this.#streams, relocated);
    restorer.restore(state, this.#context.descriptors);
    for (const { at, inode } of state.asides) {
      this.#asides.restore({ path: this.#tree.pathOf(at), inode }, state.generation - 1);
    }
    this.#asides.captureState(this.#openPaths(), state.generation);
    this.#asides.drop(this.#kept.oldest(state.generation));
  }

  /** Absolute paths of all that the guest has open. */
  #openPaths(): Set<string> {
    const paths = new Set<string>();
    for (const [, descriptor] of this.#context.descriptors.entries()) {
      if (descriptor.kind === 'file') paths.add(descriptor.file.path);
      else if (descriptor.kind === 'directory') paths.add(descriptor.anchor.path);
    }
    return paths;
  }

  /** The state as it is now, as plain JSON. The guest must be stopped, between two calls or inside an interrupted one. */
  captureState(): WasiState {
    const { descriptors, clock, interruptedWaitStartMs, interruptedWriteBytes } = this.#context;
    this.#log.startNextGeneration();
    const captured = captureDescriptors(descriptors, this.#tree, this.#streams);
    this.#registry.captured(descriptors);
    const asides = this.#asides.captureState(this.#openPaths(), this.#log.generation);
    const input = this.#input;
    return {
      version: 1,
      generation: this.#log.generation,
      clock: clock.captureState(),
      waitStartMs: interruptedWaitStartMs ?? null,
      ...(interruptedWriteBytes === 0 ? {} : { interruptedWriteBytes }),
      input: {
        offsetBytes: input instanceof GivenInput ? input.offsetBytes : 0,
        unreadBase64: input instanceof InheritedInput ? Buffer.from(input.unreadBytes()).toString('base64') : '',
      },
      output: this.#output.captureState(),
      files: captured.files,
      descriptors: captured.descriptors,
      asides: asides.map(({ path, inode }) => ({ at: this.#tree.knownLocationOf(path), inode })),
    };
  }

  /** Makes durable what the captured state relies on: files written, names changed, output held. Errors: StorageError. */
  beforeCommit(): void {
    const open = new Map<OpenFile, FileDescriptor>();
    for (const [, descriptor] of this.#context.descriptors.entries()) {
      if (descriptor.kind === 'file') open.set(descriptor.file, descriptor);
    }
    this.#context.contents.syncAll(open);
    this.#log.syncDirectories();
    this.#output.sync();
  }

  /** The newest captured state is durable: releases held output and drops what only older checkpoints needed. */
  afterCommit(): void {
    const oldestKept = this.#kept.committed(this.#log.generation);
    this.#log.forgetOlder(oldestKept);
    this.#asides.drop(oldestKept);
    this.#output.release();
  }

  /** Whether output waits for a commit; just after one, that a stop came before a reader had taken all of it. */
  get holdsOutput(): boolean {
    return this.#output.holdsAny;
  }

  /** The guest ended without another checkpoint, by a trap: what it wrote since the last one leaves as well. */
  releaseUncommittedOutput(): void {
    this.#output.releaseUncommitted();
  }

  /** No more checkpoints will be taken: what is held leaves, and what follows leaves at once. Errors: StorageError, CorruptionError. */
  stopHoldingOutput(): void {
    this.#output.stopHolding();
  }

  /** The guest is done: closes what it has open. A capture and commit after this leave nothing behind. */
  endGuest(): void {
    const { descriptors, contents } = this.#context;
    for (const [number] of descriptors.entries()) {
      const descriptor = descriptors.remove(number);
      if (descriptor.kind === 'file') contents.close(descriptor);
      else descriptor.close();
    }
  }

  /** Gives all of the host's resources back. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.endGuest();
    this.#log.close();
    this.#output.close();
    this.#tree.close();
  }
}

/** Journals and held output of a job that was given up say nothing about the one that begins. */
function discardRunFiles(device: Device): void {
  const names = device.list().filter((name) => isJournalName(name) || isOutputName(name));
  for (const name of names) device.remove(name);
  if (names.length > 0) device.syncDirectory();
}

const WRITING_RIGHTS = Rights.fdWrite | Rights.fdDatasync | Rights.fdAllocate | Rights.fdFilestatSetSize;
const APPEND = 1;

function openInput(
  source: InputSource,
  blocking: Blocking,
  state: WasiState['input'] | undefined,
): StandardStream | undefined {
  switch (source.kind) {
    case 'inherit':
      if (fs.fstatSync(STANDARD_INPUT).isFile()) return undefined;
      return new InheritedInput(blocking, Buffer.from(state?.unreadBase64 ?? '', 'base64'));
    case 'file':
      return undefined;
    case 'bytes':
      return new GivenInput(source.bytes, state?.offsetBytes ?? 0);
    case 'empty':
      return new GivenInput(new Uint8Array(), 0);
  }
}

/** Wraps every host function so that what it throws becomes the error number that it returns. */
function guarded(calls: CallTable): CallTable {
  const wrapped: CallTable = {};
  for (const [name, call] of Object.entries(calls)) wrapped[name] = guard(call);
  return wrapped;
}

function guard(call: (...args: never[]) => number): (...args: never[]) => number {
  // Nine fixed parameters, the most that a call has: a rest parameter would make an array for every call.
  return (a: never, b: never, c: never, d: never, e: never, f: never, g: never, h: never, i: never): number => {
    try {
      return call(a, b, c, d, e, f, g, h, i);
    } catch (error) {
      return errnoOf(error);
    }
  };
}
