/** What holds of every module that comes out of the rewriter. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { rewriteModule } from '../../src/rewrite/rewrite.ts';
import { BodyDecoder } from '../../src/wasm/function-body.ts';
import { ByteReader } from '../../src/wasm/byte-reader.ts';
import { SectionId, decodeModule, functionType } from '../../src/wasm/module.ts';
import { valueTypeName } from '../../src/wasm/value-type.ts';
import { allOptions, optionsName } from '../support/capture-plan.ts';
import { generateProgram } from '../support/program-generator.ts';
import { assemble } from '../support/wat.ts';

const folders = ['kernels', 'workloads'].map((name) => fileURLToPath(new URL(`../../dist/${name}/`, import.meta.url)));
const compiled = folders
  .filter((folder) => existsSync(folder))
  .flatMap((folder) => readdirSync(folder).map((file) => folder + file))
  .filter((file) => file.endsWith('.wasm'))
  .map((file) => ({ name: file.slice(file.lastIndexOf('/') + 1), wasm: new Uint8Array(readFileSync(file)) }));
const generated = Array.from({ length: 60 }, (_, seed) => ({ name: `seed ${seed}`, wasm: generateProgram(seed).wasm }));
const programs = [...compiled, ...generated];

/** Code more than this many times the original's would be a mistake somewhere: programs are mostly code. */
const GROWTH_MAX = 4;
/** The same where each access is checked. */
const PAGED_GROWTH_MAX = 6;

it('there are programs to look at', () => {
  expect(compiled.length).toBeGreaterThanOrEqual(5);
});

it.each(allOptions.map((options) => [optionsName(options), options] as const))(
  'valid and the same each time: %s',
  (_, options) => {
    for (const { name, wasm } of programs) {
      const { bytes } = rewriteModule(decodeModule(wasm), options);
      expect(WebAssembly.validate(bytes), name).toBe(true);
      expect(Buffer.compare(rewriteModule(decodeModule(wasm), options).bytes, bytes), name).toBe(0);
    }
  },
);

it('the code grows by so much', () => {
  const codeBytes = (bytes: Uint8Array): number => {
    const reader = new ByteReader(bytes, 8);
    while (!reader.atEnd) {
      const id = reader.u8();
      const length = reader.u32();
      if (id === SectionId.code) return length;
      reader.skip(length);
    }
    throw new Error('there is no code');
  };
  const rows = compiled.map(({ name, wasm }) => {
    const before = codeBytes(wasm);
    const growth = allOptions.map((options) => codeBytes(rewriteModule(decodeModule(wasm), options).bytes) / before);
    return { name, before, growth };
  });
  const total = allOptions.map((_, k) =>
    Math.exp(rows.reduce((sum, { growth }) => sum + Math.log(growth[k]), 0) / rows.length),
  );
  const line = (name: string, growth: readonly number[]): string =>
    `${name.padEnd(24)}${growth.map((times) => `${times.toFixed(2)}×`.padStart(8)).join('')}`;
  console.log(
    [
      `code growth: ${allOptions.map(optionsName).join('; ')}`,
      ...rows.map(({ name, growth }) => line(name, growth)),
      line('geometric mean', total),
    ].join('\n'),
  );
  const growthOf = (tracking: string): number =>
    total[allOptions.findIndex((options) => options.tracking === tracking && !options.counting)];
  expect(growthOf('software')).toBeLessThan(GROWTH_MAX);
  expect(growthOf('none')).toBeLessThanOrEqual(growthOf('software'));
  expect(growthOf('paged')).toBeLessThan(PAGED_GROWTH_MAX);
});

it('the decoder finds the results of each function on the stack at its end', () => {
  let functions = 0;
  for (const { name, wasm } of programs) {
    const module = decodeModule(wasm);
    const decoder = new BodyDecoder(module);
    for (let f = module.importedFunctionCount; f < module.functionTypes.length; f++) {
      decoder.decode(f);
      const types: string[] = [];
      for (let n = decoder.stack[decoder.count]; n !== 0; n = decoder.nodeBelow[n]) {
        types.unshift(valueTypeName(decoder.nodeType[n]));
      }
      expect(types, `${name}, function ${f}`).toEqual(Array.from(functionType(module, f).results, valueTypeName));
      functions++;
    }
  }
  expect(functions).toBeGreaterThan(300);
});

describe('a rewritten module', () => {
  const module = assemble(`(module $program (import "host" "f" (func $imported (param i32)))
    (memory (export "memory") 1) (global (export "counter") (mut i32) (i32.const 0)) (table (export "table") 2 funcref)
    (func $named (export "run") (export "also run") (param $n i32) (local $inner i32)
      (loop $l (call $imported (local.get $n)) (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1))))))
    (export "host call" (func $imported)))`);
  const { bytes } = rewriteModule(decodeModule(module), { tracking: 'software', counting: false });
  const rewritten = new WebAssembly.Module(bytes);

  it('exports what the program exports, but for the memory, which the host has', () => {
    const names = WebAssembly.Module.exports(rewritten).map(({ name, kind }) => `${kind} ${name}`);
    expect(names.filter((name) => !name.includes('continuo:')).toSorted()).toEqual([
      'function also run', 'function host call', 'function run', 'global counter', 'table table',
    ]); // prettier-ignore
  });

  it('imports what the program imports, and the memory of the machine', () => {
    const imports = WebAssembly.Module.imports(rewritten);
    expect(imports.map(({ module: from, name }) => `${from}.${name}`)).toEqual(['host.f', 'continuo.memory']);
  });

  it('keeps the names that a trap shows', () => {
    const [names] = WebAssembly.Module.customSections(rewritten, 'name');
    expect(Buffer.from(names).toString('latin1')).toMatch(/named.*/s);
  });

  it('is not touched by the section of another tool', () => {
    const custom = [0, 5, 4, ...Buffer.from('none')];
    const extended = Uint8Array.from([...module, ...custom]);
    const again = rewriteModule(decodeModule(extended), { tracking: 'software', counting: false });
    expect(Buffer.compare(again.bytes, bytes)).toBe(0);
  });
});
