import { UsageError } from '../error/errors.ts';
import { ByteReader } from './byte-reader.ts';
import { type Module, SectionId } from './module.ts';

/** Numbers of the parts of a name section that are read. */
const NamePart = { functions: 1, locals: 2, tables: 5, globals: 7 } as const;

type Names = ReadonlyMap<number, string>;

/** What a module's `name` section says, by index; empty where it says nothing. */
export interface NameSection {
  readonly functions: Names;
  /** By function, then by local; parameters come first. */
  readonly locals: ReadonlyMap<number, Names>;
  readonly tables: Names;
  readonly globals: Names;
}

/** Names are a courtesy: engines ignore what is broken of a name section, and so do we. */
export function readNameSection(module: Module): NameSection {
  const functions = new Map<number, string>();
  const tables = new Map<number, string>();
  const globals = new Map<number, string>();
  const locals = new Map<number, Map<number, string>>();
  const readPart = (id: number, reader: ByteReader): void => {
    if (id === NamePart.functions) readNames(reader, functions);
    else if (id === NamePart.tables) readNames(reader, tables);
    else if (id === NamePart.globals) readNames(reader, globals);
    else if (id === NamePart.locals) {
      for (let count = reader.u32(); count > 0; count--) {
        const names = new Map<number, string>();
        locals.set(reader.u32(), names);
        readNames(reader, names);
      }
    }
  };
  for (const section of module.sections) {
    if (section.id !== SectionId.custom) continue;
    try {
      const reader = new ByteReader(module.bytes, section.start, section.end);
      if (reader.name() !== 'name') continue;
      while (!reader.atEnd) {
        const id = reader.u8();
        const lengthBytes = reader.u32();
        readPart(
          id,
          new ByteReader(module.bytes, reader.position, Math.min(reader.end, reader.position + lengthBytes)),
        );
        reader.skip(lengthBytes);
      }
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
    }
  }
  return { functions, locals, tables, globals };
}

function readNames(reader: ByteReader, names: Map<number, string>): void {
  for (let count = reader.u32(); count > 0; count--) {
    const index = reader.u32();
    names.set(index, reader.name());
  }
}
