/**
 * Keeps a second process out of a job directory.
 *
 * Each process that wants the job puts a *claim* into the directory: a file with a name of its own that says who
 * it is. Then it looks who else has one. It holds the job when all other claims are dead, and withdraws its own
 * otherwise.
 *
 * (1) Of two live claimants at most one holds: each claims before it looks, so at least the later one sees the other.
 * (2) A dead claim is removed by its own name, which nobody uses again, so removing it twice, or late, or by several at
 *     once harms nobody. (With one lock file of a fixed name, a slow process could remove the lock that a quick one
 *     had just taken over.)
 * (3) A claim appears whole, by a rename; one that cannot be read was left by a power failure, and its owner is dead.
 * (4) Two that claim at once both see each other: the one whose name sorts first waits until the other has
 *     withdrawn, so one of them gets the job.
 *
 * A claim is dead when it was made before this boot, when no process has its number, or when the process that has it
 * now started at another time. Where the system does not tell the last two, a reused process number counts as alive;
 * a claim of another host always does, because nothing here can tell.
 */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { UsageError } from '../error/errors.ts';
import { kindOfPath, makeDirectory, removeEmptyDirectories, storageError, systemErrorCode } from './file-device.ts';

const CLAIM_PREFIX = 'lock-';
const UNFINISHED_PREFIX = 'lock.new-';
/** How long the first of several simultaneous claimants waits for the others to withdraw. */
const WITHDRAWAL_MS = 500;
const WITHDRAWAL_STEP_MS = 5;
const UNFINISHED_AGE_MS = 60_000;

/** Who holds a job. Fields that the system does not tell are empty. */
export interface LockOwner {
  readonly pid: number;
  readonly host: string;
  /** Changes with every start of the system. */
  readonly bootId: string;
  /** When the process started, in the system's own unit: tells a reused process number. */
  readonly processStart: string;
  readonly since: string;
  /** The signal by which it takes a checkpoint; undefined where it takes none, as a program that embeds Continuo. */
  readonly checkpointSignal?: 'SIGUSR1';
}

export interface LockOptions {
  readonly create?: boolean;
  readonly checkpointSignal?: 'SIGUSR1' | undefined;
}

export function isLockName(name: string): boolean {
  return name.startsWith(CLAIM_PREFIX) || name.startsWith(UNFINISHED_PREFIX);
}

export class JobLock {
  readonly directory: string;
  readonly #claim: string;
  /** Directories that were made for this lock, the innermost first. */
  readonly #made: readonly string[];
  #released = false;

  private constructor(directory: string, claim: string, made: readonly string[]) {
    this.directory = directory;
    this.#claim = claim;
    this.#made = made;
  }

  /**
   * Takes the job directory for this process; makes the directory where it is missing and `create` is set.
   * @throws UsageError `job-locked`: another live process has it; `job-not-found`: there is no such directory.
   */
  static acquire(directory: string, options: LockOptions = {}): JobLock {
    const path = resolve(directory);
    const made = prepare(path, options.create ?? false);
    const nonce = randomBytes(8).toString('hex');
    const unfinished = join(path, UNFINISHED_PREFIX + nonce);
    const claim = `${CLAIM_PREFIX}${nonce}`;
    try {
      fs.writeFileSync(unfinished, JSON.stringify(ownIdentity(options.checkpointSignal)));
      fs.renameSync(unfinished, join(path, claim));
    } catch (error) {
      throw storageError('lock', path, error);
    }
    // Not by the wall clock, which may be set back meanwhile.
    const deadlineMs = performance.now() + WITHDRAWAL_MS;
    for (;;) {
      const rivals = liveRivals(path, claim);
      if (rivals.length === 0) {
        removeUnfinished(path);
        return new JobLock(path, claim, made);
      }
      // One that has been there for longer than contenders wait holds the job.
      const mayWithdraw = rivals.every(
        ({ name, owner }) => claim < name && Date.now() - Date.parse(owner.since) < WITHDRAWAL_MS,
      );
      if (!mayWithdraw || performance.now() > deadlineMs) {
        fs.rmSync(join(path, claim), { force: true });
        throw locked(path, rivals[0]);
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WITHDRAWAL_STEP_MS);
    }
  }

  /** Gives the directory back; one that was made for this lock and holds nothing is removed again. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    fs.rmSync(join(this.directory, this.#claim), { force: true });
    removeEmptyDirectories(this.#made);
  }
}

/** The live process that holds a job directory, for a look without a claim; undefined when nobody does. */
export function lockOwner(directory: string): LockOwner | undefined {
  // What is no directory is nobody's job; whoever reads it says so better.
  if (kindOfPath(directory) !== 'directory') return undefined;
  for (const name of fs.readdirSync(directory)) {
    if (!name.startsWith(CLAIM_PREFIX)) continue;
    const owner = readClaim(join(directory, name));
    if (owner !== undefined && isAlive(owner)) return owner;
  }
  return undefined;
}

/** Asks the process that holds a job for a checkpoint; false where it is on another machine, takes no signal, or is gone. */
export function askForCheckpoint(owner: LockOwner): boolean {
  if (owner.checkpointSignal === undefined || owner.host !== hostname() || !isAlive(owner)) return false;
  try {
    process.kill(owner.pid, owner.checkpointSignal);
    return true;
  } catch (error) {
    // It has ended, or is another user's.
    if (systemErrorCode(error) === '') throw error;
    return false;
  }
}

interface Rival {
  readonly name: string;
  readonly owner: LockOwner;
}

/** Returns the directories that were made, the innermost first. */
function prepare(path: string, create: boolean): readonly string[] {
  const kind = kindOfPath(path);
  if (kind === 'other') {
    throw new UsageError('job-not-a-job', `${path} is not a directory; name a directory for the job`, { path });
  }
  if (kind === 'directory') return [];
  if (!create) throw new UsageError('job-not-found', `there is no job directory ${path}`, { path });
  return makeDirectory(path);
}

/** Live claims but one's own; dead ones are removed on the way. */
function liveRivals(path: string, ownClaim: string): Rival[] {
  const rivals: Rival[] = [];
  for (const name of fs.readdirSync(path).sort()) {
    if (!name.startsWith(CLAIM_PREFIX) || name === ownClaim) continue;
    const claim = join(path, name);
    const owner = readClaim(claim);
    if (owner !== undefined && isAlive(owner)) rivals.push({ name, owner });
    else fs.rmSync(claim, { force: true });
  }
  return rivals;
}

/** Removes what claimants left that died before their claim was whole; one that is still at work is younger. */
function removeUnfinished(path: string): void {
  for (const name of fs.readdirSync(path)) {
    if (!name.startsWith(UNFINISHED_PREFIX)) continue;
    const status = fs.statSync(join(path, name), { throwIfNoEntry: false });
    if (status !== undefined && Date.now() - status.mtimeMs > UNFINISHED_AGE_MS)
      fs.rmSync(join(path, name), { force: true });
  }
}

/** The owner that a claim names; undefined when the claim is gone or cannot be read (see (3)). */
function readClaim(path: string): LockOwner | undefined {
  let content: string;
  try {
    content = fs.readFileSync(path, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const value: unknown = JSON.parse(content);
    return isOwner(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isOwner(value: unknown): value is LockOwner {
  if (typeof value !== 'object' || value === null) return false;
  const owner: Partial<Record<keyof LockOwner, unknown>> = value;
  return (
    Number.isSafeInteger(owner.pid) &&
    typeof owner.host === 'string' &&
    typeof owner.bootId === 'string' &&
    typeof owner.processStart === 'string' &&
    typeof owner.since === 'string' &&
    (owner.checkpointSignal === undefined || owner.checkpointSignal === 'SIGUSR1')
  );
}

function ownIdentity(checkpointSignal: 'SIGUSR1' | undefined): LockOwner {
  return {
    pid: process.pid,
    host: hostname(),
    bootId: currentBootId(),
    processStart: processStart(process.pid) ?? '',
    since: new Date().toISOString(),
    ...(checkpointSignal === undefined ? {} : { checkpointSignal }),
  };
}

function isAlive(owner: LockOwner): boolean {
  if (owner.host !== hostname()) return true;
  const bootId = currentBootId();
  if (owner.bootId !== '' && bootId !== '' && owner.bootId !== bootId) return false;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    // EPERM: there is such a process, of another user.
    if (systemErrorCode(error) === 'ESRCH') return false;
  }
  const start = processStart(owner.pid);
  return start !== undefined && (start === '' || owner.processStart === '' || start === owner.processStart);
}

function currentBootId(): string {
  return readProc('/proc/sys/kernel/random/boot_id').trim();
}

/**
 * Start time of a process, in clock ticks since boot; empty where the system does not tell; undefined when the process
 * is dead: one that was killed and not yet waited for still has its number.
 */
function processStart(pid: number): string | undefined {
  const status = readProc(`/proc/${pid}/stat`);
  // The command's name, in parentheses, may hold spaces; the fields that follow it are counted from 3 (proc(5)).
  const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return fields[19] ?? '';
}

function readProc(path: string): string {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    // Other systems have no such files, and a process may end while one looks at it.
    return '';
  }
}

function locked(path: string, { name, owner }: Rival): UsageError {
  const elsewhere = owner.host === hostname() ? '' : ` on ${owner.host}`;
  const remedy =
    owner.host === hostname()
      ? 'wait for it, stop it, or name another job directory'
      : `if you know that it has ended, remove ${join(path, name)}`;
  return new UsageError(
    'job-locked',
    `${path} is in use by process ${owner.pid}${elsewhere} since ${owner.since}; ${remedy}`,
    { path, pid: owner.pid, host: owner.host, since: owner.since },
  );
}
