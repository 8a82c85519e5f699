import { UnsupportedModuleError } from '../error/errors.ts';
import { controlRegion } from '../memory/layout.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';
import { type Module, SectionId, functionType } from '../wasm/module.ts';
import { Op } from '../wasm/opcode.ts';
import { type FunctionType, ValueType, isReferenceType } from '../wasm/value-type.ts';
import { type CallGraph, analyseCalls, savedReferenceTypes } from './call-graph.ts';
import { type DoorContext, enterKey, functionsBehindDoors, makeDoors } from './door-code.ts';
import {
  emitBeginFrame,
  emitEndFrame,
  emitSaveFrame,
  emitUnwindingTest,
  emitZeros,
  frameBytesOf,
  parameterValues,
  siteCode,
} from './frame-code.ts';
import { type AccessTracking, checksAccesses } from './access-emitter.ts';
import { type CodeTarget, FunctionEmitter } from './function-emitter.ts';
import { ENTRY_SITE, FunctionPlan } from './function-plan.ts';
import { BranchHints } from './branch-hints.ts';
import { type Additions, ModuleEncoder, TypeSection } from './module-encoder.ts';
import {
  type RuntimeContext,
  type RuntimeFunction,
  RuntimeKey,
  makeRuntimeFunctions,
  runtimeKey,
  runtimeTypes,
  saveReferenceKey,
} from './runtime-functions.ts';

/** Changes whenever the same input gives other bytes: rewritten modules are kept under it. */
export const REWRITER_VERSION = 10;

/** V8 takes no larger function. */
const FUNCTION_BYTES_MAX = 7_654_321;

export interface RewriteOptions {
  readonly tracking: AccessTracking;
  /** Polls also count down, so that a capture can be asked for after an exact number of safepoints. */
  readonly counting: boolean;
  /** The instance is called by code that knows nothing of captures: see `door-code.ts`. */
  readonly doors?: boolean;
  /** NaNs that the program can see have the same bits on every processor; see `nan-analysis.ts`. */
  readonly canonicalNan?: boolean;
  /** The machine is called, through an entry that it adds behind all functions, when the memory has grown. Not where accesses are checked. */
  readonly tellsGrowth?: boolean;
}

/** A rewritten program and what the machine must know of it. */
export interface RewrittenModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly module: Module;
  readonly graph: CallGraph;
  readonly options: RewriteOptions;
  /** Index of each runtime function in the rewritten module, by its key. */
  readonly runtimeFunctions: ReadonlyMap<string, number>;
  /** The door of each function that has one, by their indices. */
  readonly doors: ReadonlyMap<number, number>;
  /** Types of the functions behind the original ones: trampolines, runtime functions, doors. */
  readonly addedFunctionTypes: readonly FunctionType[];
}

/** The function of the rewritten module that references to a function of the original program name. */
export function referenceIndex({ module, doors }: RewrittenModule, original: number): number {
  const door = doors.get(original);
  if (door !== undefined) return door;
  return original < module.importedFunctionCount ? trampolineIndex(module, original) : original;
}

/** What of an earlier rewriting of the same module with the same options need not be made again. */
export interface KeptRewrite {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly graph: CallGraph;
}

/** The function of the rewritten module that stands for an imported function. */
export function trampolineIndex(module: Module, importedFunction: number): number {
  return module.functionTypes.length + importedFunction;
}

/**
 * Makes a program capturable: safepoints at loop heads and calls, guest memory behind the control region, imported
 * functions behind trampolines, state exported. The same bytes and options always give the same result.
 *
 * The module must be valid; features outside of what is supported throw an unsupported-module error.
 */
export function rewriteModule(module: Module, options: RewriteOptions, kept?: KeptRewrite): RewrittenModule {
  const graph = kept?.graph ?? analyseCalls(module);
  refuseLargeNumbers(module, graph);
  const types = new TypeSection(module);
  const imported = module.importedFunctionCount;
  const firstRuntime = module.functionTypes.length + imported;
  const savedTypes = savedReferenceTypes(graph);
  const runtimeContext: RuntimeContext = {
    module,
    graph,
    tracking: options.tracking,
    firstIndex: firstRuntime,
    savedTypes,
    types,
    fault: undefined,
  };
  const runtime = checksAccesses(options.tracking)
    ? runtimeWithEntry(runtimeContext, 'fault', runtimeTypes.i32x3ToI32)
    : options.tellsGrowth === true
      ? runtimeWithEntry(runtimeContext, 'growth', runtimeTypes.nothing)
      : makeRuntimeFunctions(runtimeContext);
  const runtimeFunctions = new Map(runtime.map(({ key }, k) => [key, firstRuntime + k]));
  const behindDoors = options.doors === true ? functionsBehindDoors(module, graph) : [];
  const firstDoor = firstRuntime + runtime.length;
  const doors = new Map(behindDoors.map((f, k) => [f, firstDoor + 2 * k]));
  behindDoors.forEach((f, k) => runtimeFunctions.set(enterKey(f), firstDoor + 2 * k + 1));
  const functionIndex = (f: number): number => (f < imported ? trampolineIndex(module, f) : f);
  const referenceIndex = (f: number): number => doors.get(f) ?? functionIndex(f);
  const target: CodeTarget = {
    tracking: options.tracking,
    counting: options.counting,
    canonicalNan: options.canonicalNan === true,
    functionIndex,
    referenceIndex,
    runtimeFunction: (op, a, b) => runtimeFunctions.get(runtimeKey(op, a, b))!,
    saveFunction: (type) => runtimeFunctions.get(saveReferenceKey(type))!,
    endFrameFunction: () => runtimeFunctions.get(RuntimeKey.endFrame)!,
    table: (type) => module.tables.length + 1 + savedTypes.indexOf(type),
    ensureFunction: () => runtimeFunctions.get(RuntimeKey.ensure)!,
  };
  const added: Additions['functions'][number][] = [];
  for (let f = 0; f < imported; f++) {
    added.push({ typeIndex: module.functionTypes[f], body: trampoline(module, f, target) });
  }
  const doorContext: DoorContext = {
    ...target,
    insideGlobal: module.globals.length,
    functionsTable: module.tables.length,
    hostEntry: firstDoor + 2 * behindDoors.length,
    hostType: behindDoors.length === 0 ? 0 : types.indexOf(runtimeTypes.i32ToNothing),
  };
  const functionsOfDoors = makeDoors(module, behindDoors, functionIndex, doorContext);
  for (const { type, body } of [...runtime, ...functionsOfDoors]) {
    added.push({ typeIndex: types.indexOf(type), body });
  }

  const addedFunctionTypes = [
    ...Array.from({ length: imported }, (_, f) => functionType(module, f)),
    ...runtime.map(({ type }) => type),
    ...functionsOfDoors.map(({ type }) => type),
  ];
  const additions = {
    types,
    functions: added,
    functionIndex,
    referenceIndex,
    insideGlobal: options.doors === true,
    savedTypes,
  };
  const bytes = kept?.bytes ?? encodeRewritten(module, graph, target, additions);
  return { bytes, module, graph, options, runtimeFunctions, doors, addedFunctionTypes };
}

/** Runtime functions that call the machine: a paged guest's `ensure`, or `memory.grow`. Its entry will be behind all functions. */
function runtimeWithEntry(context: RuntimeContext, what: 'fault' | 'growth', type: FunctionType): RuntimeFunction[] {
  const place = { table: context.module.tables.length, typeIndex: context.types.indexOf(type) };
  const { length } = makeRuntimeFunctions({ ...context, [what]: { ...place, entry: 0 } });
  return makeRuntimeFunctions({ ...context, [what]: { ...place, entry: context.firstIndex + length } });
}

/** Emits all code, one function at a time, and the module around it. */
function encodeRewritten(
  module: Module,
  graph: CallGraph,
  target: CodeTarget,
  additions: Additions,
): Uint8Array<ArrayBuffer> {
  const section = module.sections.find(({ id }) => id === SectionId.code);
  const code = new ByteWriter((section === undefined ? 0 : section.end - section.start) * 2 + 4096);
  const firstDefined = module.importedFunctionCount;
  code.u32(module.functionTypes.length - firstDefined + additions.functions.length);
  const body = new ByteWriter(4096);
  const plan = new FunctionPlan(module, graph);
  const emitter = new FunctionEmitter(plan, target);
  const hints = new BranchHints();
  for (let f = firstDefined; f < module.functionTypes.length; f++) {
    plan.plan(f);
    body.clear();
    emitter.emitFunction(body);
    if (body.length > FUNCTION_BYTES_MAX) {
      const [start, end] = module.bodies.subarray(2 * (f - firstDefined), 2 * (f - firstDefined) + 2);
      throw new UnsupportedModuleError(
        `a function of ${end - start} bytes, ${body.length} once rewritten,`,
        'code',
        start,
      );
    }
    code.u32(body.length).raw(body.view());
    hints.add(f, emitter.unlikelyBranches);
  }
  for (const { body: bytes } of additions.functions) code.u32(bytes.length).raw(bytes);
  const out = new ByteWriter(module.bytes.length + code.length);
  new ModuleEncoder(module, additions).encode(out, code, hints);
  return out.toBytes();
}

/**
 * Calls an imported function; when the host interrupted it (the poll word says unwinding), saves the arguments as a frame
 * `before` the import's own offset 0, so that the call is issued again after a resume.
 */
function trampoline(module: Module, f: number, target: CodeTarget): Uint8Array {
  const { params, results } = functionType(module, f);
  const pointer = params.length;
  const code = new ByteWriter();
  code.u32(1).u32(1).u8(ValueType.i32);
  code.pair(Op.block, 0x40);
  for (let k = 0; k < params.length; k++) code.u8(Op.localGet).u32(k);
  code.u8(Op.call).u32(f);
  emitUnwindingTest(code);
  code.pair(Op.brIf, 0).u8(Op.return).u8(Op.end);
  emitBeginFrame(code, pointer);
  emitSaveFrame(code, pointer, parameterValues(params), target);
  emitEndFrame(code, frameBytesOf(params), siteCode(ENTRY_SITE, true), f, target);
  emitZeros(code, results);
  return code.u8(Op.end).toBytes();
}

function refuseLargeNumbers(module: Module, graph: CallGraph): void {
  const limit = controlRegion.droppedSegmentsBytes / 2;
  const mutableCells = module.globals.filter(({ type, mutable }) => mutable && !isReferenceType(type)).length;
  if (graph.elemDrops.size > limit || graph.dataDrops.size > limit) {
    throw new UnsupportedModuleError(`more than ${limit} segments of a kind that it drops`, 'code', 0);
  }
  if (mutableCells * 16 > controlRegion.globalsBytes) {
    throw new UnsupportedModuleError(`more than ${controlRegion.globalsBytes / 16} mutable globals`, 'global', 0);
  }
}
