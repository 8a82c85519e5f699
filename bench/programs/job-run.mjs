// One job of one program: its folder, its runs under plain Node and under Continuo, what they leave.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const plainNode = fileURLToPath(new URL('plain-node.mjs', import.meta.url));
/** node:wasi of Node 20 fails on an empty environment. */
const ENVIRONMENT = { LANG: 'C' };

/** The runs of one job of a program, each kind in a folder of its own below `scratch`. */
export class JobRun {
  #folder;
  #program;
  #job;
  #file;
  #shared;
  #command;
  #memory;
  #tracker;

  static async prepare(program, length, { scratch, command, memory, tracker }) {
    const { file } = await program.obtain();
    return new JobRun(program, program[length], file, (await program.directories?.()) ?? [], {
      scratch,
      command,
      memory,
      tracker,
    });
  }

  /** `command`: path of the command line's main file; `memory` and `tracker`: what its options of these names say, if anything. */
  constructor(program, job, file, shared, { scratch, command, memory, tracker }) {
    this.#tracker = tracker;
    this.#memory = memory;
    this.#program = program;
    this.#job = job;
    this.#file = file;
    this.#shared = shared;
    this.#folder = scratch;
    this.#command = command;
  }

  /** A run under plain Node, in a fresh folder; `flags` are Node's. */
  async plain(flags = []) {
    const run = this.#fresh('plain');
    const specification = path.join(run.folder, 'run.json');
    const figures = path.join(run.folder, 'figures.json');
    const { directories, stdout } = run;
    const content = { program: this.#file, args: this.#job.args, directories, env: ENVIRONMENT, stdout, figures };
    fs.writeFileSync(specification, JSON.stringify(content));
    // QuickJS comes to the end of Node's 984 KB of stack now and then, as it happens to be compiled; Continuo gives 8 MB.
    const engine = ['--no-warnings', '--no-turbo-fast-api-calls', '--stack-size=4000'];
    const end = await runNode([...engine, ...flags, plainNode, specification], {});
    if (!fs.existsSync(figures)) throw new Error(`plain Node failed: ${end.stderr}`);
    return { ...end, ...JSON.parse(fs.readFileSync(figures, 'utf8')), left: digestOf(run) };
  }

  /** An uninterrupted run under Continuo, in a fresh folder. */
  async continuo(interval) {
    const run = this.#fresh('continuo');
    return { ...(await this.#goOn(run, interval)), left: digestOf(run) };
  }

  /**
   * Runs under Continuo that are killed at random instants, and run again, until one ends. `draw()` gives a number below
   * 1; a run may live up to `lifeMs`. After `killsMax` kills a run is left alone.
   */
  async killed(interval, { draw, lifeMs, killsMax }) {
    const run = this.#fresh('killed');
    for (let kills = 0, early = 0; ;) {
      const end = await this.#goOn(run, interval, kills < killsMax ? draw() * lifeMs : undefined);
      if (!end.killed) return { ...end, kills, early, left: digestOf(run) };
      kills++;
      // A run that was killed before its job was there counts, but tells little.
      if (!fs.existsSync(run.job)) early++;
    }
  }

  async #goOn({ directories, stdout, job, stats }, interval, killAfterMs) {
    const words = [
      this.#command,
      'run',
      '--quiet',
      '--job',
      job,
      '--stdout',
      stdout,
      '--stats',
      stats,
      '--interval',
      interval,
    ];
    if (this.#memory) words.push('--memory', this.#memory);
    if (this.#tracker) words.push('--tracker', this.#tracker);
    for (const [host, guest] of directories) words.push('--dir', `${host}::${guest}`);
    for (const [name, value] of Object.entries(ENVIRONMENT)) words.push('--env', `${name}=${value}`);
    fs.rmSync(stats, { force: true });
    const end = await runNode([...words, this.#file, ...this.#job.args], { killAfterMs });
    return fs.existsSync(stats) ? { ...end, stats: JSON.parse(fs.readFileSync(stats, 'utf8')) } : end;
  }

  #fresh(kind) {
    const folder = path.join(this.#folder, kind);
    fs.rmSync(folder, { recursive: true, force: true });
    const work = path.join(folder, 'work');
    const temporary = path.join(folder, 'tmp');
    fs.mkdirSync(work, { recursive: true });
    fs.mkdirSync(temporary);
    this.#program.prepare?.(work);
    this.#job.prepare?.(work);
    const directories = [[work, '/job'], [temporary, '/tmp'], ...this.#shared];
    const file = (name) => path.join(folder, name);
    return { folder, work, directories, stdout: file('stdout'), job: file('job'), stats: file('stats.json') };
  }
}

/** Runs Node to its end, or to its SIGKILL after `killAfterMs`. */
function runNode(words, { killAfterMs }) {
  const startMs = performance.now();
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  return new Promise((resolve, reject) => {
    child.on('error', reject).on('close', (exitCode, signal) => {
      clearTimeout(timer);
      resolve({
        exitCode,
        killed: signal === 'SIGKILL' && timer !== undefined,
        stderr,
        wallMs: performance.now() - startMs,
      });
    });
  });
}

/** Digests of all that a run left: standard output and each file below its work folder, by name. */
function digestOf({ work, stdout }) {
  const left = { 'standard output': digest(stdout) };
  for (const entry of fs.readdirSync(work, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isFile()) left[path.relative(work, file)] = digest(file);
  }
  return Object.fromEntries(Object.entries(left).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function digest(file) {
  return fs.existsSync(file)
    ? createHash('sha256').update(fs.readFileSync(file)).digest('hex').slice(0, 16)
    : 'missing';
}

/** Names of what two runs left differently. */
export function differences(left, right) {
  return [...new Set([...Object.keys(left), ...Object.keys(right)])].filter((name) => left[name] !== right[name]);
}

/** Numbers below 1 from a seed (mulberry32), so that a series of kills can be had again. */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
