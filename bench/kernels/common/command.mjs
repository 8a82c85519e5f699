/** Kernels as programs, for tests and benchmarks that run whole processes. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const OPTIONS = [
  '--target=wasm32',
  '-std=c11',
  '-O2',
  '-ffreestanding',
  '-nostdlib',
  '-mbulk-memory',
  '-msign-ext',
  '-Wl,--no-entry',
  '-Wl,-z,stack-size=1048576',
];
const driver = fileURLToPath(new URL('command.c', import.meta.url));

/** Whether programs in C can be compiled here. */
export const hasClang = ['clang', 'wasm-ld'].every((tool) => spawnSync(tool, ['--version']).status === 0);

/** Compiles a kernel into a command that prints its digest so many times; returns what it must print. */
export function compileKernelCommand(name, times, output) {
  const source = fileURLToPath(new URL(`../${name}.c`, import.meta.url));
  const text = readFileSync(source, 'utf8');
  const extra = /^\/\/ Compile: (.*)$/m.exec(text)?.[1].split(' ') ?? [];
  const digest = /^\/\/ Result: 0x([0-9a-f]{8})$/m.exec(text)?.[1];
  const defines = [`-DKERNEL="${source.replaceAll('\\', '/')}"`, `-DTIMES=${times}`];
  const words = [...OPTIONS, ...extra, ...defines, '-o', output, driver];
  const { status, stderr } = spawnSync('clang', words, { encoding: 'utf8' });
  if (status !== 0 || digest === undefined) throw new Error(`${name} does not compile: ${stderr}`);
  return `${digest}\n`.repeat(times);
}
