import { ByteWriter } from '../wasm/byte-writer.ts';
import { ExternalKind, SectionId } from '../wasm/module.ts';
import { Op } from '../wasm/opcode.ts';
import { ValueType } from '../wasm/value-type.ts';
import { savedReferenceTypes } from './call-graph.ts';
import { emitCells, emitDeclarations, emitForgetReferences, emitStoreResults } from './door-code.ts';
import { type ReferenceStore, emitLoadValues } from './frame-code.ts';
import { TypeSection, writeHeader, writeMemoryImport, writeSection } from './module-encoder.ts';
import { ImportModule } from './names.ts';
import { ResumeTableImport, resumeImports } from './resume-module.ts';
import type { RewrittenModule } from './rewrite.ts';
import { runtimeTypes, saveReferenceKey, saveReferenceType } from './runtime-functions.ts';

/** Exports of a finish module. */
export const FinishExport = { finish: 'finish', results: 'results' } as const;

/**
 * A side module for the resume functions that have these results: `finish (slot)` resumes and puts the results into the
 * cells, `results` gives them to JavaScript. Its imports are those of a resume module, the functions by index as name.
 */
export function finishModule(
  rewritten: RewrittenModule,
  results: Uint8Array,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly functions: readonly number[] } {
  const { module, graph, runtimeFunctions } = rewritten;
  const savedTypes = savedReferenceTypes(graph);
  const none = new Uint8Array(0);
  const types = new TypeSection(module);
  const resumeType = types.indexOf({ params: none, results });
  const finishType = types.indexOf(runtimeTypes.i32ToNothing);
  const saves = savedTypes.map((type) => types.indexOf(saveReferenceType(type)));
  const functions = savedTypes.map((type) => runtimeFunctions.get(saveReferenceKey(type))!);
  const imports = new ByteWriter().u32(2 + 2 * savedTypes.length);
  saves.forEach((type, k) => imports.name(ImportModule).name(String(functions[k])).u8(ExternalKind.function).u32(type));
  writeMemoryImport(imports, module);
  imports.name(ImportModule).name(ResumeTableImport).pair(ExternalKind.table, ValueType.funcref).u8(0).u32(0);
  for (const type of savedTypes) {
    imports.name(ImportModule).name(resumeImports.savedReferences(type)).pair(ExternalKind.table, type).u8(0).u32(0);
  }
  const references: ReferenceStore = {
    saveFunction: (type) => savedTypes.indexOf(type),
    endFrameFunction: () => 0,
    table: (type) => 1 + savedTypes.indexOf(type),
  };
  const pointer = results.length + 1;
  const finish = new ByteWriter();
  emitDeclarations(finish, [...results, ValueType.i32]);
  finish.pair(Op.localGet, 0).u8(Op.callIndirect).u32(resumeType).u32(0);
  emitCells(finish, pointer);
  emitStoreResults(finish, results, 1, pointer, references);
  finish.u8(Op.end);
  const give = new ByteWriter();
  emitDeclarations(give, [ValueType.i32]);
  emitCells(give, 0);
  emitLoadValues(give, 0, Array.from(results), references);
  emitForgetReferences(give, results);
  give.u8(Op.end);

  const out = new ByteWriter();
  writeHeader(out);
  types.encode(out);
  writeSection(out, SectionId.import, imports);
  writeSection(out, SectionId.function, new ByteWriter().u32(2).u32(finishType).u32(resumeType));
  const exports = new ByteWriter().u32(2);
  exports.name(FinishExport.finish).u8(ExternalKind.function).u32(functions.length);
  exports
    .name(FinishExport.results)
    .u8(ExternalKind.function)
    .u32(functions.length + 1);
  writeSection(out, SectionId.export, exports);
  const code = new ByteWriter().u32(2);
  for (const body of [finish, give]) code.u32(body.length).raw(body.view());
  writeSection(out, SectionId.code, code);
  return { bytes: out.toBytes(), functions };
}
