/** Runs the built command as a process of its own, as its users do. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { assemble } from '../support/wat.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const command = join(root, 'dist', 'command', 'main.js');
export const workload = (name: string): string => join(root, 'dist', 'workloads', `${name}.wasm`);

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Given to its standard input, which is then closed; an open pipe with `pipe`; nothing at all otherwise. */
  readonly input?: string;
  readonly pipe?: boolean;
  /** A descriptor to inherit as standard output, instead of a pipe. */
  readonly stdout?: number;
  /** The Node.js that runs it; this one when there is none. */
  readonly node?: string;
}

export interface Ended {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** From start to end, milliseconds. */
  readonly ms: number;
}

/** A process that runs. */
export class RunningCommand {
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], options: RunOptions = {}) {
    const startMs = performance.now();
    this.#child = spawn(options.node ?? process.execPath, [command, ...args], {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: ['pipe', options.stdout ?? 'pipe', 'pipe'],
    });
    // A test that failed leaves nothing running.
    onTestFinished(() => void this.#child.kill('SIGKILL'));
    // A process that was killed takes no input; that it did not is no error of the test.
    this.#child.stdin!.on('error', () => {});
    if (options.pipe !== true) this.#child.stdin!.end(options.input ?? '');
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text));
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.ended = new Promise((settle, fail) => {
      this.#child.on('error', fail);
      this.#child.on('close', (exitCode, signal) => {
        const ms = performance.now() - startMs;
        settle({ exitCode, signal, stdout: this.#stdout, stderr: this.#stderr, ms });
      });
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** What standard output has given until now. */
  get stdout(): string {
    return this.#stdout;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  write(text: string): void {
    this.#child.stdin!.write(text);
  }

  endInput(): void {
    this.#child.stdin!.end();
  }

  /** Waits until standard error holds one of the texts; fails when the process ends before. */
  async waitFor(...texts: string[]): Promise<void> {
    let isOver = false;
    const over = this.ended.then(() => (isOver = true));
    while (!texts.some((text) => this.#stderr.includes(text))) {
      if (isOver) throw new Error(`the process ended without "${texts.join('" or "')}":\n${this.#stderr}`);
      await Promise.race([over, sleep(2)]);
    }
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((wake) => setTimeout(wake, ms));

/** Runs the command to its end. */
export function continuo(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return new RunningCommand(args, options).ended;
}

/** A directory for one test, removed when the test is over. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'continuo-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Puts a program into a folder, from text or bytes, and returns its path. */
export function program(folder: string, name: string, module: string | Uint8Array): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name}.wasm`);
  writeFileSync(path, typeof module === 'string' ? assemble(module) : module);
  return path;
}

/** Names and digests of all that lies in a directory, to tell whether anything was touched. */
export function contentsOf(directory: string): Readonly<Record<string, string>> {
  const contents: Record<string, string> = {};
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    contents[path] = entry.isFile() ? createHash('sha256').update(readFileSync(path)).digest('hex') : 'directory';
  }
  return contents;
}
