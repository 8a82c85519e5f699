/** Scripts that use the library in a process of their own, which must not hang, and processes of a user without rights. */
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { program, root, scratch } from '../cli/continuo.ts';
import { WRITES } from '../cli/guests.ts';

const LIBRARY = pathToFileURL(join(root, 'dist', 'index.js')).href;

export const moduleUrl = (name: string): string => pathToFileURL(join(root, 'dist', 'machine', `${name}.js`)).href;

/** Runs a script that uses the library; fails when it takes longer than it may. */
export async function script(text: string, limitMs: number): Promise<{ exitCode: number | null; output: string }> {
  const folder = scratch();
  const file = join(folder, 'script.mjs');
  writeFileSync(file, text);
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => (output += part));
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  const exitCode = await new Promise<number | null>((settle) => child.on('close', settle));
  clearTimeout(timer);
  return { exitCode, output };
}

/** Starts a program that writes for ever, with these options of the machine, and runs the rest once it does. */
export const writesForEver = (options: string, rest: string): string => `
  import { readFileSync } from 'node:fs';
  import { Worker } from 'node:worker_threads';
  import { Machine } from ${JSON.stringify(LIBRARY)};
  // The threads of the process, in the order in which they are listened to: the guest's, then the pager's.
  const threads = new Set();
  const { on } = Worker.prototype;
  Worker.prototype.on = function (...args) { threads.add(this); return on.apply(this, args); };
  const program = readFileSync(${JSON.stringify(program(scratch(), 'writes', WRITES))});
  const machine = Machine.start({ program, ${options} });
  machine.on('running', () => setTimeout(() => {
    const pager = [...threads][1];
    ${rest}
  }, 300));
  machine.ended.then(() => console.log('ended'), (error) => { console.log('failed:', error.message); process.exit(7); });`;

/** Whether processes can be started here as a user without rights. */
export const setpriv = spawnSync('setpriv', ['--version']).status === 0 && process.getuid?.() === 0;

/** Of `setpriv`: a user without rights, whom the system does not tell of its own faults. */
export const nobody = [
  '--bounding-set=-sys_ptrace',
  '--inh-caps=-all',
  '--reuid=65534',
  '--regid=65534',
  '--clear-groups',
];
