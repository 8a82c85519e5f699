import { FileCache } from '../device/file-cache.ts';
import { programDigest } from '../format/job-format.ts';
import type { CallGraph } from '../rewrite/call-graph.ts';
import { REWRITER_VERSION, type RewriteOptions, type RewrittenModule, rewriteModule } from '../rewrite/rewrite.ts';
import { ByteReader } from '../wasm/byte-reader.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';
import type { Module } from '../wasm/module.ts';

/** Below this a module is rewritten sooner than a file is read and checked. */
const CACHED_BYTES_MIN = 512 * 1024;

/**
 * Rewrites a program, or takes the result of an earlier run from the user's cache: by digest of the program, version of
 * the rewriter and options. The call graph is kept with it, since making that is a good part of the work.
 */
export function rewriteCached(module: Module, options: RewriteOptions, cache = FileCache.ofUser()): RewrittenModule {
  if (cache === undefined || module.bytes.length < CACHED_BYTES_MIN) return rewriteModule(module, options);
  const { tracking, counting, canonicalNan, tellsGrowth } = options;
  const suffix =
    (counting ? '-counting' : '') +
    (canonicalNan === true ? '-canonical' : '') +
    (tellsGrowth === true ? '-growth' : '');
  const name = `${programDigest(module.bytes)}-${REWRITER_VERSION}-${tracking}${suffix}`;
  const kept = cache.read(name);
  if (kept !== undefined) {
    const reader = new ByteReader(kept);
    const graph = readGraph(reader, module);
    const bytes = new Uint8Array(kept.subarray(reader.position));
    return rewriteModule(module, options, { graph, bytes });
  }
  const rewritten = rewriteModule(module, options);
  const out = new ByteWriter(rewritten.bytes.length + 1024);
  writeGraph(out, rewritten.graph);
  out.raw(rewritten.bytes);
  cache.write(name, out.view());
  return rewritten;
}

const byteColumns = ['canUnwind', 'recursive', 'tailRecursive', 'addressTaken', 'indirectCanUnwind'] as const;
const wordColumns = ['component', 'indirectComponent'] as const;
const sets = ['memoryInits', 'dataDrops', 'elemDrops'] as const;

function writeGraph(out: ByteWriter, graph: CallGraph): void {
  for (const column of byteColumns) out.raw(graph[column]);
  for (const column of wordColumns) for (const word of graph[column]) out.u32(word);
  out.u8(graph.mutatesTables ? 1 : 0);
  for (const set of sets) {
    out.u32(graph[set].size);
    for (const segment of graph[set]) out.u32(segment);
  }
  out.u32(graph.tableInits.size);
  for (const pair of graph.tableInits) out.u32(pair);
  out.u8(graph.exceptionReferences ? 1 : 0);
}

function readGraph(reader: ByteReader, module: Module): CallGraph {
  const functions = module.functionTypes.length;
  const types = module.types.length;
  const bytes = (count: number): Uint8Array => {
    const start = reader.position;
    reader.skip(count);
    return new Uint8Array(reader.bytes.subarray(start, start + count));
  };
  const words = (count: number): Int32Array => Int32Array.from({ length: count }, () => reader.u32());
  const set = (): Set<number> => new Set(words(reader.u32()));
  const canUnwind = bytes(functions);
  const recursive = bytes(functions);
  const tailRecursive = bytes(functions);
  const addressTaken = bytes(functions);
  const indirectCanUnwind = bytes(types);
  const component = words(functions);
  const indirectComponent = words(types);
  const mutatesTables = reader.u8() === 1;
  const memoryInits = set();
  const dataDrops = set();
  const elemDrops = set();
  const tableInits = set();
  const exceptionReferences = reader.u8() === 1;
  return {
    canUnwind, component, recursive, tailRecursive, addressTaken, indirectCanUnwind, indirectComponent, mutatesTables, memoryInits,
    dataDrops, elemDrops, tableInits, exceptionReferences,
  }; // prettier-ignore
}
