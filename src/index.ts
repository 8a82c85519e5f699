/** Continuo as a library: run, checkpoint, stop and resume WebAssembly programs. Intended to be stable. */
export { Machine } from './machine/machine.ts';
export type { DirectoryGrant, MachineEnd, MachineEvents, MachineOptions, ResumeOptions } from './machine/machine.ts';
export type { JobDescription } from './machine/protocol.ts';
export type { CheckpointStats } from './checkpoint/store.ts';
export type { InputSource, OutputMode, OutputTarget } from './wasi/config.ts';
export {
  ContinuoError,
  CorruptionError,
  GuestTrapError,
  StorageError,
  UnsupportedModuleError,
  UsageError,
  type ErrorCode,
  type ErrorDetails,
} from './error/errors.ts';
