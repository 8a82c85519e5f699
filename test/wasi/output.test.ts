/** Standard streams of a job that is killed and run again: every byte once, or a message that says which twice. */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const PROGRAM = fileURLToPath(new URL('output-program.mjs', import.meta.url));
let scratch: string;
let job: string;

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'continuo-output-'));
  job = mkdtempSync(join(scratch, 'job-'));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

interface Settings {
  steps: string[];
  outputMode?: 'immediate' | 'commit';
  stdin?: object;
  stdout?: object;
}

const STEPS = [
  'out one',
  'checkpoint',
  'out two',
  'err problem',
  'out three',
  'kill 1',
  'out four',
  'kill 2',
  'out five',
];
const OUTPUT = 'one\ntwo\nthree\nfour\nfive\n';

/** Runs the job once; `stdout` and `stderr` are descriptors or pipes. Returns what came out of pipes. */
function run(
  settings: Settings,
  stdio: { stdin?: number | string; stdout?: number | 'pipe'; stderr?: number | 'pipe' } = {},
): { stdout: string; stderr: string; killed: boolean } {
  const settingsFile = join(scratch, 'settings.json');
  writeFileSync(settingsFile, JSON.stringify({ directory: job, outputMode: 'immediate', ...settings }));
  const { stdin = 'ignore', stdout = 'pipe', stderr = 'pipe' } = stdio;
  const result = spawnSync(process.execPath, [PROGRAM, settingsFile], {
    stdio: [stdin as 'ignore', stdout, stderr],
    encoding: 'utf8',
  });
  if (result.status !== 0 && result.signal === null) throw new Error(`the job failed: ${result.stderr}`);
  return { stdout: result.stdout ?? '', stderr: result.stderr ?? '', killed: result.signal !== null };
}

/** Runs until the job is done; the output of all runs together. */
function runAll(settings: Settings): { stdout: string; stderr: string; runs: number } {
  const all = { stdout: '', stderr: '', runs: 0 };
  for (;;) {
    const { stdout, stderr, killed } = run(settings);
    all.stdout += stdout;
    all.stderr += stderr;
    all.runs++;
    if (!killed) return all;
  }
}

function notices(): string {
  const path = join(job, 'notices');
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function withFile<Result>(path: string, flags: string, use: (descriptor: number) => Result): Result {
  const descriptor = openSync(path, flags);
  try {
    return use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

describe.each(['immediate', 'commit'] as const)('output mode %s', (outputMode) => {
  it('a file that output is appended to holds each byte once', () => {
    const path = join(scratch, 'out');
    writeFileSync(path, 'before\n');
    let runs = 0;
    while (withFile(path, 'a', (stdout) => run({ steps: STEPS, outputMode }, { stdout })).killed) runs++;
    expect(runs).toBe(2);
    expect(readFileSync(path, 'utf8')).toBe(`before\n${OUTPUT}`);
    // In either mode a restart says only what it really took away: held output leaves again by itself.
    const cut = Array.from(
      notices().matchAll(/^(\d+) bytes were cut from the end of the file that standard output goes to: /gm),
      ([, count]) => Number(count),
    );
    expect(cut).toEqual(
      outputMode === 'immediate' ? ['two\nthree\n', 'two\nthree\nfour\n'].map((text) => text.length) : [],
    );
  });

  it('so does a file that each run opens at its start', () => {
    const path = join(scratch, 'out');
    writeFileSync(path, '');
    while (withFile(path, 'r+', (stdout) => run({ steps: STEPS, outputMode }, { stdout })).killed);
    expect(readFileSync(path, 'utf8')).toBe(OUTPUT);
  });

  it('so does a file that takes both streams, in their order', () => {
    const path = join(scratch, 'out');
    while (withFile(path, 'a', (both) => run({ steps: STEPS, outputMode }, { stdout: both, stderr: both })).killed);
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\nproblem\nthree\nfour\nfive\n');
  });

  it('a file that the job opens itself belongs to it', () => {
    const path = join(scratch, 'own');
    const { runs } = runAll({ steps: STEPS, outputMode, stdout: { kind: 'file', path } });
    expect(runs).toBe(3);
    expect(readFileSync(path, 'utf8')).toBe(OUTPUT);
    expect(notices()).not.toContain('standard output');
  });
});

it('of a file that each run empties, a message says how much is missing', () => {
  const path = join(scratch, 'out');
  while (withFile(path, 'w', (stdout) => run({ steps: STEPS }, { stdout })).killed);
  expect(notices()).toMatch(/standard output lacks 4 bytes/);
  expect(readFileSync(path, 'utf8')).toBe(OUTPUT.slice(4));
});

it('immediate output into a pipe is shown again, and a message says how much', () => {
  const { stdout } = runAll({ steps: STEPS });
  expect(stdout).toBe('one\ntwo\nthree\n' + 'two\nthree\nfour\n' + 'two\nthree\nfour\nfive\n');
  expect(notices()).toBe(
    [
      '10 bytes of standard output that were written after the checkpoint are shown again',
      '8 bytes of standard error that were written after the checkpoint are shown again',
      '15 bytes of standard output that were written after the checkpoint are shown again',
      '8 bytes of standard error that were written after the checkpoint are shown again',
      '',
    ].join('\n'),
  );
});

describe('output held until the commit', () => {
  it('comes out of a pipe exactly once', () => {
    const all = runAll({ steps: STEPS, outputMode: 'commit' });
    expect(all).toEqual({ stdout: OUTPUT, stderr: 'problem\n', runs: 3 });
    expect(notices()).toBe('');
  });

  it('is released by the next run when the first was killed between commit and release', () => {
    const steps = ['out one', 'checkpoint', 'out two', 'err problem', 'capture', 'out three'];
    const first = run({ steps, outputMode: 'commit' });
    expect(first).toMatchObject({ stdout: 'one\n', killed: true });
    const second = run({ steps, outputMode: 'commit' });
    expect(second).toEqual({ stdout: 'two\nthree\n', stderr: 'problem\n', killed: false });
  });

  it('keeps its order and its bytes when it is long', () => {
    const line = 'x'.repeat(50_000);
    const steps = [
      ...Array.from({ length: 20 }, (_, index) => `out ${index} ${line}`),
      'checkpoint',
      'out end',
      'kill 1',
    ];
    const { stdout } = runAll({ steps, outputMode: 'commit' });
    expect(stdout).toBe(Array.from({ length: 20 }, (_, index) => `${index} ${line}\n`).join('') + 'end\n');
  });
});

describe('standard input', () => {
  const steps = ['echo 4', 'checkpoint', 'echo 3', 'kill 1', 'echo 100'];

  it('that is a regular file goes on where the checkpoint left it', () => {
    const path = join(scratch, 'in');
    writeFileSync(path, 'abcdefghij');
    const first = withFile(path, 'r', (stdin) => run({ steps, stdin: { kind: 'inherit' } }, { stdin }));
    expect(first).toMatchObject({ stdout: 'abcdefg', killed: true });
    const second = withFile(path, 'r', (stdin) => run({ steps, stdin: { kind: 'inherit' } }, { stdin }));
    expect(second).toMatchObject({ stdout: 'efghij', killed: false });
  });

  it('that the job opens itself does so too', () => {
    const path = join(scratch, 'in');
    writeFileSync(path, 'abcdefghij');
    expect(runAll({ steps, stdin: { kind: 'file', path } }).stdout).toBe('abcdefg' + 'efghij');
  });
});

it('counts of output in the job directory are no larger than they need to be', () => {
  runAll({ steps: STEPS });
  expect(statSync(join(job, 'output-released')).size).toBe(28);
});
