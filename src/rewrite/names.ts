import { valueTypeName } from '../wasm/value-type.ts';

/** Names of what the rewritten module exports besides the guest's own exports, and of what it imports from us. */
export const ImportModule = 'continuo';
export const MemoryImport = 'memory';
/** Table of all functions: those of the original program by their index, then ours. */
export const FunctionsExport = 'continuo:functions';
/** Mutable i32 global: 1 while the instance's own code runs. Only in modules with doors. */
export const InsideExport = 'continuo:inside';
/** Table of the references of a type that a captured stack holds. */
export const savedReferencesExport = (type: number): string => `continuo:saved ${valueTypeName(type)}s`;
export const tableExport = (index: number): string => `continuo:table ${index}`;
export const tagExport = (index: number): string => `continuo:tag ${index}`;
export const globalExport = (index: number): string => `continuo:global ${index}`;
