import { ByteReader } from '../wasm/byte-reader.ts';
import {
  hasReference,
  readBlockType,
  readCatchClauses,
  readHeapType,
  readValueType,
  skipImmediates,
} from '../wasm/immediate.ts';
import { ExternalKind, type Module } from '../wasm/module.ts';
import { readOpcode } from '../wasm/opcode-reader.ts';
import { Op, immediateOf } from '../wasm/opcode.ts';
import { ValueType } from '../wasm/value-type.ts';

/**
 * Which functions can be on the stack when it is captured, and which calls must be safepoints.
 *
 * A function *can unwind* when it holds a safepoint or calls one that can. Functions that cannot, and calls to them, stay
 * as they are. A guest that never reaches a loop head must go through a cycle of calls, and every cycle that does not
 * end in a stack overflow returns: so it is enough to poll after the calls inside a cycle of the call graph, and at
 * the entry of functions that make a tail call inside one.
 *
 * Indirect calls go to any function of that type whose address is taken. The graph has a node per function
 * and one per type, so that its size stays linear.
 */
export interface CallGraph {
  /** 1 per function that can be on a captured stack. Imported functions always can. */
  readonly canUnwind: Uint8Array;
  /** Component number per function of the call graph's cycles; functions outside any cycle have numbers of their own. */
  readonly component: Int32Array;
  /** 1 per function that lies on a cycle of calls. */
  readonly recursive: Uint8Array;
  /** 1 per function that makes a tail call inside a cycle. */
  readonly tailRecursive: Uint8Array;
  /** Per type index, 1 when an indirect call of that type can unwind. */
  readonly indirectCanUnwind: Uint8Array;
  /** Component number per type index. */
  readonly indirectComponent: Int32Array;
  /** 1 per function that a table, an export or a reference may name. */
  readonly addressTaken: Uint8Array;
  /** Whether any instruction writes a table. */
  readonly mutatesTables: boolean;
  /** Segments that code names: bulk instructions on them go through functions of ours. */
  readonly memoryInits: ReadonlySet<number>;
  readonly dataDrops: ReadonlySet<number>;
  readonly elemDrops: ReadonlySet<number>;
  /** Pairs of segment and table, as `segment * 2 ** 20 + table`. */
  readonly tableInits: ReadonlySet<number>;
  /** Whether any value of the program can be a reference to an exception. */
  readonly exceptionReferences: boolean;
}

/** Types of the references that the program can hold: each has a table that keeps what a captured stack refers to. */
export function savedReferenceTypes({ exceptionReferences }: CallGraph): readonly number[] {
  const { funcref, externref, exnref } = ValueType;
  return exceptionReferences ? [funcref, externref, exnref] : [funcref, externref];
}

export const TABLE_INIT_STRIDE = 2 ** 20;

export function analyseCalls(module: Module): CallGraph {
  const scan = new Scan(module);
  scan.run();
  return scan.result();
}

/** Number of the first structurally equal type, per type index. */
function canonicalTypes(module: Module): Int32Array {
  const seen = new Map<string, number>();
  return Int32Array.from(module.types, (type, index) => {
    const key = `${type.params.join()}:${type.results.join()}`;
    const first = seen.get(key);
    if (first !== undefined) return first;
    seen.set(key, index);
    return index;
  });
}

/** References to exceptions in function types, globals and tables; those in code are found by the scan. */
function declaresExceptionReferences({ types, globals, tables }: Module): boolean {
  return (
    types.some(({ params, results }) => params.includes(ValueType.exnref) || results.includes(ValueType.exnref)) ||
    globals.some(({ type }) => type === ValueType.exnref) ||
    tables.some(({ type }) => type === ValueType.exnref)
  );
}

class Scan {
  readonly #module: Module;
  readonly #canonical: Int32Array;
  readonly #functionCount: number;
  readonly #nodeCount: number;
  // Edges in the order of their source node: those of node n are [edgeStart[n], edgeStart[n + 1]).
  readonly #edgeStart: Int32Array;
  #edges = new Int32Array(1024);
  #edgeCount = 0;
  readonly #hasLoop: Uint8Array;
  readonly #hasTailCall: Uint8Array;
  readonly #addressTaken: Uint8Array;
  #mutatesTables = false;
  #exceptionReferences: boolean;
  readonly #memoryInits = new Set<number>();
  readonly #dataDrops = new Set<number>();
  readonly #elemDrops = new Set<number>();
  readonly #tableInits = new Set<number>();

  constructor(module: Module) {
    this.#module = module;
    this.#exceptionReferences = declaresExceptionReferences(module);
    this.#canonical = canonicalTypes(module);
    this.#functionCount = module.functionTypes.length;
    this.#nodeCount = this.#functionCount + module.types.length;
    this.#edgeStart = new Int32Array(this.#nodeCount + 1);
    this.#hasLoop = new Uint8Array(this.#functionCount);
    this.#hasTailCall = new Uint8Array(this.#functionCount);
    this.#addressTaken = new Uint8Array(this.#functionCount);
  }

  run(): void {
    const module = this.#module;
    for (let f = 0; f < module.importedFunctionCount; f++) this.#edgeStart[f] = 0;
    for (let f = module.importedFunctionCount; f < this.#functionCount; f++) {
      this.#edgeStart[f] = this.#edgeCount;
      this.#scanBody(f);
    }
    this.#takeAddresses();
    const members: number[][] = module.types.map(() => []);
    for (let f = 0; f < this.#functionCount; f++) {
      if (this.#addressTaken[f]) members[this.#canonical[module.functionTypes[f]]].push(f);
    }
    for (let t = 0; t < module.types.length; t++) {
      this.#edgeStart[this.#functionCount + t] = this.#edgeCount;
      for (const f of members[t]) this.#addEdge(f);
    }
    this.#edgeStart[this.#nodeCount] = this.#edgeCount;
  }

  result(): CallGraph {
    const module = this.#module;
    const { component, cyclic } = this.#components();
    const functionCount = this.#functionCount;
    const canUnwind = new Uint8Array(this.#nodeCount);
    for (let f = 0; f < functionCount; f++) {
      if (f < module.importedFunctionCount || this.#hasLoop[f] || cyclic[f]) canUnwind[f] = 1;
    }
    if (this.#hostSeesTables()) canUnwind.fill(1, functionCount);
    this.#propagateToCallers(canUnwind);
    const tailRecursive = new Uint8Array(functionCount);
    for (let f = 0; f < functionCount; f++) tailRecursive[f] = this.#hasTailCall[f] & cyclic[f];
    const typeNode = (t: number) => functionCount + this.#canonical[t];
    return {
      canUnwind: canUnwind.subarray(0, functionCount),
      component: component.subarray(0, functionCount),
      recursive: cyclic.subarray(0, functionCount),
      tailRecursive,
      indirectCanUnwind: Uint8Array.from(module.types, (_, t) => canUnwind[typeNode(t)]),
      indirectComponent: Int32Array.from(module.types, (_, t) => component[typeNode(t)]),
      addressTaken: this.#addressTaken,
      mutatesTables: this.#mutatesTables || this.#hostSeesTables(),
      memoryInits: this.#memoryInits,
      dataDrops: this.#dataDrops,
      elemDrops: this.#elemDrops,
      tableInits: this.#tableInits,
      exceptionReferences: this.#exceptionReferences,
    };
  }

  #scanBody(f: number): void {
    const module = this.#module;
    const defined = f - module.importedFunctionCount;
    const reader = new ByteReader(module.bytes, module.bodies[2 * defined], module.bodies[2 * defined + 1]);
    for (let declarations = reader.u32(); declarations > 0; declarations--) {
      reader.skipLeb();
      this.#noteType(readValueType(reader));
    }
    while (reader.position < reader.end) {
      const op = readOpcode(reader);
      switch (op) {
        case Op.loop:
          this.#hasLoop[f] = 1;
          this.#noteType(readBlockType(reader) + 128);
          break;
        case Op.block:
        case Op.if:
        case Op.try:
          this.#noteType(readBlockType(reader) + 128);
          break;
        case Op.tryTable:
          this.#noteType(readBlockType(reader) + 128);
          for (const { kind } of readCatchClauses(reader)) if (hasReference(kind)) this.#exceptionReferences = true;
          break;
        case Op.refNull:
          this.#noteType(readHeapType(reader));
          break;
        case Op.returnCall:
          this.#hasTailCall[f] = 1;
          this.#addEdge(reader.u32());
          break;
        case Op.call:
          this.#addEdge(reader.u32());
          break;
        case Op.returnCallIndirect:
        case Op.callIndirect:
          if (op === Op.returnCallIndirect) this.#hasTailCall[f] = 1;
          this.#addEdge(this.#functionCount + this.#canonical[reader.u32()]);
          reader.skipLeb();
          break;
        case Op.refFunc:
          this.#addressTaken[reader.u32()] = 1;
          break;
        case Op.memoryInit:
          this.#memoryInits.add(reader.u32());
          reader.skipLeb();
          break;
        case Op.dataDrop:
          this.#dataDrops.add(reader.u32());
          break;
        case Op.elemDrop:
          this.#elemDrops.add(reader.u32());
          break;
        case Op.tableInit: {
          const segment = reader.u32();
          this.#tableInits.add(segment * TABLE_INIT_STRIDE + reader.u32());
          this.#mutatesTables = true;
          break;
        }
        case Op.tableSet:
        case Op.tableCopy:
        case Op.tableGrow:
        case Op.tableFill:
          this.#mutatesTables = true;
          skipImmediates(reader, immediateOf[op]);
          break;
        default:
          skipImmediates(reader, immediateOf[op]);
      }
    }
  }

  #noteType(type: number): void {
    if (type === ValueType.exnref) this.#exceptionReferences = true;
  }

  #takeAddresses(): void {
    const module = this.#module;
    for (const segment of module.elements) {
      for (const f of segment.functions ?? []) this.#addressTaken[f] = 1;
      for (const expression of segment.expressions ?? []) {
        if (expression.functionIndex !== undefined) this.#addressTaken[expression.functionIndex] = 1;
      }
    }
    for (const { initial } of module.globals) {
      if (initial?.functionIndex !== undefined) this.#addressTaken[initial.functionIndex] = 1;
    }
    for (const entry of module.exports) {
      if (entry.kind === ExternalKind.function) this.#addressTaken[entry.index] = 1;
    }
  }

  /** A host that sees a table can put functions of its own there. */
  #hostSeesTables(): boolean {
    const module = this.#module;
    return module.importedTableCount > 0 || module.exports.some((entry) => entry.kind === ExternalKind.table);
  }

  #addEdge(target: number): void {
    if (this.#edgeCount === this.#edges.length) {
      const larger = new Int32Array(this.#edges.length * 2);
      larger.set(this.#edges);
      this.#edges = larger;
    }
    this.#edges[this.#edgeCount++] = target;
  }

  /** Strongly connected components (Tarjan, without recursion: call graphs are deep). */
  #components(): { component: Int32Array; cyclic: Uint8Array } {
    const n = this.#nodeCount;
    const order = new Int32Array(n).fill(-1);
    const low = new Int32Array(n);
    const component = new Int32Array(n).fill(-1);
    const cyclic = new Uint8Array(n);
    const next = new Int32Array(n);
    const open: number[] = [];
    const path: number[] = [];
    let visited = 0;
    for (let root = 0; root < n; root++) {
      if (order[root] >= 0) continue;
      path.push(root);
      while (path.length > 0) {
        const v = path[path.length - 1];
        if (order[v] < 0) {
          order[v] = low[v] = visited++;
          next[v] = this.#edgeStart[v];
          open.push(v);
        }
        if (next[v] < this.#edgeStart[v + 1]) {
          const w = this.#edges[next[v]++];
          if (w === v) cyclic[v] = 1;
          if (order[w] < 0) path.push(w);
          else if (component[w] < 0) low[v] = Math.min(low[v], order[w]);
          continue;
        }
        path.pop();
        if (path.length > 0) {
          const parent = path[path.length - 1];
          low[parent] = Math.min(low[parent], low[v]);
        }
        if (low[v] === order[v]) this.#closeComponent(v, open, component, cyclic);
      }
    }
    return { component, cyclic };
  }

  #closeComponent(root: number, open: number[], component: Int32Array, cyclic: Uint8Array): void {
    const alone = open[open.length - 1] === root;
    let member: number;
    do {
      member = open.pop()!;
      component[member] = root;
      if (!alone) cyclic[member] = 1;
    } while (member !== root);
  }

  #propagateToCallers(marked: Uint8Array): void {
    const n = this.#nodeCount;
    const callerStart = new Int32Array(n + 1);
    for (let e = 0; e < this.#edgeCount; e++) callerStart[this.#edges[e] + 1]++;
    for (let v = 0; v < n; v++) callerStart[v + 1] += callerStart[v];
    const fill = callerStart.slice(0, n);
    const callers = new Int32Array(this.#edgeCount);
    for (let v = 0; v < n; v++) {
      for (let e = this.#edgeStart[v]; e < this.#edgeStart[v + 1]; e++) callers[fill[this.#edges[e]]++] = v;
    }
    const pending: number[] = [];
    for (let v = 0; v < n; v++) if (marked[v]) pending.push(v);
    while (pending.length > 0) {
      const v = pending.pop()!;
      for (let e = callerStart[v]; e < callerStart[v + 1]; e++) {
        const caller = callers[e];
        if (marked[caller]) continue;
        marked[caller] = 1;
        pending.push(caller);
      }
    }
  }
}
