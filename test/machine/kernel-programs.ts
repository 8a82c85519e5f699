import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../cli/continuo.ts';

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

/** Whether programs in C can be compiled here. */
export const hasClang = ['clang', 'wasm-ld'].every((tool) => spawnSync(tool, ['--version']).status === 0);

/** Compiles a kernel of the benchmarks into a command that prints its digest so many times; returns what it must print. */
export function compileKernelCommand(name: string, times: number, output: string): string {
  const source = join(root, 'bench', 'kernels', `${name}.c`);
  const text = readFileSync(source, 'utf8');
  const extra = /^\/\/ Compile: (.*)$/m.exec(text)?.[1].split(' ') ?? [];
  const digest = /^\/\/ Result: 0x([0-9a-f]{8})$/m.exec(text)?.[1];
  const defines = [`-DKERNEL="${source.replaceAll('\\', '/')}"`, `-DTIMES=${times}`];
  const driver = join(root, 'test', 'machine', 'kernel-command.c');
  const { status, stderr } = spawnSync('clang', [...OPTIONS, ...extra, ...defines, '-o', output, driver], {
    encoding: 'utf8',
  });
  if (status !== 0 || digest === undefined) throw new Error(`${name} does not compile: ${stderr}`);
  return `${digest}\n`.repeat(times);
}
