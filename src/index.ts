/** Continuo as a library: run, checkpoint, stop and resume WebAssembly programs. Intended to be stable. */
export { Machine } from './machine/machine.ts';
export type {
  DirectoryGrant,
  MachineEnd,
  MachineEvents,
  MachineOptions,
  ResumeOptions,
  RunFigures,
} from './machine/machine.ts';
export type { JobDescription } from './machine/protocol.ts';
export { instantiate, instantiateNow, type InstantiatedSource } from './machine/instantiate.ts';
export { CapturableModule } from './machine/capturable-module.ts';
export {
  type CaptureHandle,
  type EmbeddedExport,
  type EmbeddedExports,
  type EmbeddedInstance,
  type InstantiateOptions,
  requestCapture,
} from './machine/embedded-instance.ts';
export { type EmbeddedImports, Interrupted } from './machine/embedded-imports.ts';
export { EmbeddedMemory } from './machine/embedded-memory.ts';
export { type EmbeddedBuffer, type ViewConstructors, guestViews } from './machine/embedded-views.ts';
export type { CheckpointStats } from './checkpoint/checkpoint.ts';
export type { PolicyName } from './checkpoint/checkpoint-store.ts';
export { AutoInterval, dalyInterval, expectedOverhead, youngInterval } from './checkpoint/interval.ts';
export { compare, simulateTrace, sweepTrace } from './simulate/comparison.ts';
export type { ComparedSimulation, ComparisonSettings } from './simulate/comparison.ts';
export { PAPER_COSTS, type CostModel } from './simulate/cost-model.ts';
export type { SimulatedPolicy, SimulationResult, SimulationSettings } from './simulate/simulation.ts';
export type { Sweep } from './simulate/sweep.ts';
export type { TraceSummary } from './simulate/trace-recorder.ts';
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
