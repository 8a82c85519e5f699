// Makes a WASI command of the Ruby package's module, which is a reactor for JavaScript hosts: a driver in WebAssembly
// initialises the interpreter and evaluates the command's first argument; functions of the JavaScript host, which pure
// Ruby code never calls, trap. Binaryen's wasm-merge joins them; the code of Ruby stays as it was built.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import wabtModule from 'wabt';
import { ExternalKind, decodeModule, functionType } from '../../dist/wasm/module.js';
import { keepExports } from './module-edit.mjs';

/** The command line of the interpreter, as the package's own loader gives it. */
const WORDS = ['ruby.wasm\0', '-EUTF-8\0', '-e_=0\0'];
const VALUE_TYPES = { 0x7f: 'i32', 0x7e: 'i64', 0x7d: 'f32', 0x7c: 'f64' };

export async function makeRubyCommand(reactor, mergeTool, output) {
  const wabt = await wabtModule();
  const module = decodeModule(fs.readFileSync(reactor));
  const scratch = fs.mkdtempSync(path.join(path.dirname(output), 'ruby-'));
  const assemble = (name, text) => {
    const file = path.join(scratch, `${name}.wasm`);
    const parsed = wabt.parseWat(name, text, { bulk_memory: true });
    fs.writeFileSync(file, parsed.toBinary({}).buffer);
    parsed.destroy();
    return [file, name];
  };
  try {
    const merged = path.join(scratch, 'merged.wasm');
    const stubs = [...hostStubs(module)].map(([name, functions]) => assemble(name, `(module ${functions.join('\n')})`));
    const parts = [[reactor, 'ruby'], ...stubs, assemble('driver', driver(module))].flat();
    const words = [mergeTool, ...parts, '-o', merged, '--all-features', '--skip-export-conflicts'];
    const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`wasm-merge failed: ${stderr}`);
    fs.writeFileSync(output, keepExports(fs.readFileSync(merged), ['memory', '_start']));
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** A module for each that Ruby imports functions of a JavaScript host from. Handles are the numbers that they stand for. */
function hostStubs(module) {
  const stubs = new Map();
  let functionIndex = 0;
  for (const { module: from, name, kind } of module.imports) {
    if (kind !== ExternalKind.function) continue;
    const { params, results } = functionType(module, functionIndex++);
    if (from === 'wasi_snapshot_preview1') continue;
    const handle = from === 'canonical_abi' && params.length === 1;
    const body = !handle ? 'unreachable' : results.length === 1 ? 'local.get 0' : '';
    const signature = `(param ${typeNames(params)}) (result ${typeNames(results)})`;
    if (!stubs.has(from)) stubs.set(from, []);
    stubs.get(from).push(`(func (export ${JSON.stringify(name)}) ${signature} ${body})`);
  }
  return stubs;
}

function typeNames(types) {
  return Array.from(types, (type) => VALUE_TYPES[type]).join(' ');
}

/** `_start` of the command: evaluates argument 1; the exit code is 0, or the state of Ruby's exception. */
function driver(module) {
  const imported = (name, signature, id) => {
    const { name: full } = module.exports.find((entry) => entry.name.split(':')[0] === name);
    return `(import "ruby" ${JSON.stringify(full)} (func $${id} ${signature}))`;
  };
  const offsets = WORDS.map((_, i) => WORDS.slice(0, i).join('').length);
  const lengthBytes = WORDS.join('').length;
  const words = WORDS.map(
    (word, i) => `
    (i32.store offset=${8 * i} (local.get $list) (i32.add (local.get $text) (i32.const ${offsets[i]})))
    (i32.store offset=${8 * i + 4} (local.get $list) (i32.const ${word.length}))`,
  ).join('');
  return `(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $argsSizesGet (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $argsGet (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $procExit (param i32)))
  (import "ruby" "memory" (memory 1))
  ${imported('_initialize', '', 'initialize')}
  ${imported('cabi_realloc', '(param i32 i32 i32 i32) (result i32)', 'reallocate')}
  ${imported('ruby-init', '(param i32 i32)', 'rubyInit')}
  ${imported('ruby-init-loadpath', '', 'rubyInitLoadpath')}
  ${imported('rb-eval-string-protect', '(param i32 i32) (result i32)', 'evaluate')}
  (data $words "${WORDS.join('').replaceAll('\0', '\\00')}")
  (func $new (param $bytes i32) (result i32)
    (call $reallocate (i32.const 0) (i32.const 0) (i32.const 8) (local.get $bytes)))
  (func (export "_start") (local $text i32) (local $list i32) (local $sizes i32) (local $end i32)
    (call $initialize)
    (local.set $text (call $new (i32.const ${lengthBytes})))
    (memory.init $words (local.get $text) (i32.const 0) (i32.const ${lengthBytes}))
    (local.set $list (call $new (i32.const ${8 * WORDS.length})))${words}
    (call $rubyInit (local.get $list) (i32.const ${WORDS.length}))
    (call $rubyInitLoadpath)
    (local.set $sizes (call $new (i32.const 8)))
    (drop (call $argsSizesGet (local.get $sizes) (i32.add (local.get $sizes) (i32.const 4))))
    (local.set $text (call $new (i32.load offset=4 (local.get $sizes))))
    (local.set $list (call $new (i32.mul (i32.const 4) (i32.load (local.get $sizes)))))
    (drop (call $argsGet (local.get $list) (local.get $text)))
    (local.set $text (i32.load offset=4 (local.get $list)))
    (local.set $end (local.get $text))
    (block $found (loop $next
      (br_if $found (i32.eqz (i32.load8_u (local.get $end))))
      (local.set $end (i32.add (local.get $end) (i32.const 1)))
      (br $next)))
    (call $evaluate (local.get $text) (i32.sub (local.get $end) (local.get $text)))
    (call $procExit (i32.load offset=4))))`;
}
