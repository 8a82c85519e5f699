import * as fs from 'node:fs';
import { UsageError } from '../error/errors.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { DIRECTORY_INHERITING_RIGHTS, DIRECTORY_RIGHTS, Rights, STREAM_RIGHTS } from './abi.ts';
import { Anchor, availableAnchorKind } from './anchor.ts';
import type { CallContext, CallTable } from './call-context.ts';
import type { Blocking, InputSource, OutputTarget, WasiConfig } from './config.ts';
import type { Descriptor } from './descriptor.ts';
import { DescriptorTable, DirectoryDescriptor, StreamDescriptor } from './descriptor.ts';
import { directoryCalls } from './directory-calls.ts';
import { errnoOf } from './errno.ts';
import { fileCalls } from './file-calls.ts';
import { FileEffects } from './file-effects.ts';
import { GuestClock } from './guest-clock.ts';
import { pathCalls } from './path-calls.ts';
import { pollCalls } from './poll-calls.ts';
import { processCalls } from './process-calls.ts';
import type { OutputPort } from './standard-stream.ts';
import { GivenInput, InheritedInput, InheritedPort, OutputStream, SinkPort } from './standard-stream.ts';

export class Wasi {
  readonly imports: CallTable;
  readonly #context: CallContext;

  constructor(config: WasiConfig, memory: GuestMemory, blocking: Blocking) {
    const descriptors = new DescriptorTable();
    const context: CallContext = {
      config,
      memory,
      descriptors,
      effects: new FileEffects(descriptors),
      clock: new GuestClock(),
      blocking,
      interruptedWaitStartMs: undefined,
    };
    this.#context = context;
    descriptors.add(openInput(config.stdin, blocking));
    descriptors.add(openOutput(config.stdout, 1, blocking));
    descriptors.add(openOutput(config.stderr, 2, blocking));
    for (const [index, preopen] of config.preopens.entries()) {
      const anchor = openPreopen(preopen.hostPath);
      descriptors.add(new DirectoryDescriptor(anchor, index, 0, DIRECTORY_RIGHTS, DIRECTORY_INHERITING_RIGHTS));
    }
    this.imports = guarded({
      ...processCalls(context),
      ...fileCalls(context),
      ...directoryCalls(context),
      ...pathCalls(context),
      ...pollCalls(context),
    });
  }

  /** Closes all that the guest has open. */
  close(): void {
    for (const [number] of this.#context.descriptors.entries()) this.#context.descriptors.remove(number).close();
  }
}

function openPreopen(hostPath: string): Anchor {
  try {
    return Anchor.root(availableAnchorKind(), fs.realpathSync(hostPath));
  } catch (error) {
    throw new UsageError(
      'bad-argument',
      `cannot open the directory ${hostPath} for the program: ${error instanceof Error ? error.message : String(error)}`,
      { path: hostPath },
      error,
    );
  }
}

function openInput(source: InputSource, blocking: Blocking): Descriptor {
  const rights = STREAM_RIGHTS & ~Rights.fdWrite;
  if (source.kind === 'inherit') {
    const stream = new InheritedInput(blocking, new Uint8Array());
    return new StreamDescriptor(stream, stream.fileType, 0, rights);
  }
  const bytes =
    source.kind === 'bytes' ? source.bytes : source.kind === 'file' ? fs.readFileSync(source.path) : new Uint8Array();
  const stream = new GivenInput(bytes, 0);
  return new StreamDescriptor(stream, stream.fileType, 0, rights);
}

function openOutput(target: OutputTarget, hostDescriptor: number, blocking: Blocking): Descriptor {
  let port: OutputPort;
  if (target.kind === 'inherit') port = new InheritedPort(hostDescriptor);
  else if (target.kind === 'sink') port = new SinkPort(target.write);
  else port = new InheritedPort(fs.openSync(target.path, 'w'));
  const stream = new OutputStream(port, blocking);
  return new StreamDescriptor(stream, stream.fileType, 0, STREAM_RIGHTS & ~Rights.fdRead);
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
