/** Clocks, waiting, standard input from a pipe; interruption by a capture and what is left of the wait after it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, closeSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Blocking } from '../../src/wasi/config.ts';
import { INTERRUPTED, ProcessExit } from '../../src/wasi/config.ts';
import { Errno } from '../../src/wasi/errno.ts';
import type { WasiState } from '../../src/wasi/wasi-state.ts';
import { CREATE, Guest, OurHost, config } from './guest.ts';

const ROOT = 3;
const REALTIME = 0;
const MONOTONIC = 1;
const SUBSCRIPTIONS = 0x100;
const EVENTS = 0x800;
const RESULT = 0x6000;

let scratch: string;
let host: OurHost | undefined;

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'continuo-waiting-'));
});
afterEach(() => {
  host?.close();
  host = undefined;
  rmSync(scratch, { recursive: true, force: true });
});

/** Waits that end when the test says so, on a clock that stands still meanwhile; input that the test gives. */
class ScriptedBlocking implements Blocking {
  readonly deadlinesMs: number[] = [];
  input: Uint8Array[] = [];
  interrupts = false;

  waitUntil(deadlineMs: number): 'elapsed' | 'interrupted' {
    this.deadlinesMs.push(deadlineMs);
    if (this.interrupts) return 'interrupted';
    while (performance.now() < deadlineMs);
    return 'elapsed';
  }

  waitForInput(deadlineMs: number): 'ready' | 'elapsed' | 'interrupted' {
    if (this.input.length > 0) return 'ready';
    return this.waitUntil(deadlineMs);
  }

  readInput(into: Uint8Array): number | 'interrupted' {
    if (this.interrupts) return 'interrupted';
    const piece = this.input.shift();
    if (piece === undefined) return 0;
    into.set(piece);
    return piece.length;
  }

  peekInput(): Uint8Array {
    return Buffer.concat(this.input);
  }

  captureRequested(): boolean {
    return this.interrupts;
  }

  stopRequested(): boolean {
    return false;
  }
}

function start(blocking: Blocking, state?: WasiState): Guest {
  host?.close();
  host = new OurHost(config(scratch), state === undefined ? {} : { state }, blocking);
  return new Guest(host);
}

interface Subscription {
  clock?: { id: number; timeoutMs: number; absolute?: boolean };
  read?: number;
  write?: number;
}

function subscribe(guest: Guest, subscriptions: Subscription[]): void {
  const view = guest.view();
  for (const [index, { clock, read, write }] of subscriptions.entries()) {
    const at = SUBSCRIPTIONS + 48 * index;
    for (let offset = 0; offset < 48; offset++) view.setUint8(at + offset, 0);
    view.setBigUint64(at, BigInt(1000 + index), true);
    if (clock !== undefined) {
      view.setUint32(at + 16, clock.id, true);
      view.setBigUint64(at + 24, BigInt(Math.round(clock.timeoutMs * 1e6)), true);
      view.setUint16(at + 40, clock.absolute === true ? 1 : 0, true);
    } else {
      view.setUint8(at + 8, read !== undefined ? 1 : 2);
      view.setUint32(at + 16, (read ?? write)!, true);
    }
  }
}

function poll(guest: Guest, subscriptions: Subscription[]): { result: number; events: object[] } {
  subscribe(guest, subscriptions);
  const result = guest.host.call('poll_oneoff', SUBSCRIPTIONS, EVENTS, subscriptions.length, RESULT);
  if (result !== 0) return { result, events: [] };
  const view = guest.view();
  const events = Array.from({ length: view.getUint32(RESULT, true) }, (_, index) => {
    const at = EVENTS + 32 * index;
    return {
      subscription: Number(view.getBigUint64(at, true)) - 1000,
      error: view.getUint16(at + 8, true),
      type: view.getUint8(at + 10),
      bytes: Number(view.getBigUint64(at + 16, true)),
    };
  });
  return { result, events };
}

function time(guest: Guest, id: number): bigint {
  expect(guest.host.call('clock_time_get', id, 0n, RESULT)).toBe(0);
  return guest.view().getBigUint64(RESULT, true);
}

const wait = (timeoutMs: number): Subscription => ({ clock: { id: MONOTONIC, timeoutMs } });

describe('clocks', () => {
  it('the wall clock is that of the host, to the nanosecond of its digits', () => {
    const guest = start(new ScriptedBlocking());
    const before = BigInt(Date.now()) * 1_000_000n;
    const now = time(guest, REALTIME);
    const after = BigInt(Date.now() + 1) * 1_000_000n;
    expect(now >= before && now < after).toBe(true);
  });

  it.each([MONOTONIC, 2, 3])('clock %i never runs backwards, across a restart neither', (id) => {
    let guest = start(new ScriptedBlocking());
    let last = time(guest, id);
    for (let i = 0; i < 100; i++) {
      const now = time(guest, id);
      expect(now >= last).toBe(true);
      last = now;
      if (i % 10 !== 9) continue;
      const state = host!.capture();
      guest = start(new ScriptedBlocking(), state);
    }
  });

  it('the monotonic clock does not count the time between two runs', () => {
    const state = start(new ScriptedBlocking()) && host!.capture();
    const before = state.clock.monotonicMs;
    const longAfter = performance.now() + 100;
    while (performance.now() < longAfter);
    const guest = start(new ScriptedBlocking(), state);
    expect(Number(time(guest, MONOTONIC)) / 1e6 - before).toBeLessThan(80);
  });
});

describe('poll_oneoff', () => {
  it('waits for the first of several times', () => {
    const guest = start(new ScriptedBlocking());
    const startMs = performance.now();
    const { events } = poll(guest, [wait(500), wait(20), { clock: { id: REALTIME, timeoutMs: 300 } }]);
    expect(events).toEqual([{ subscription: 1, error: 0, type: 0, bytes: 0 }]);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(20);
  });

  it('takes absolute times, past ones too', () => {
    const guest = start(new ScriptedBlocking());
    const nowMs = Number(time(guest, MONOTONIC)) / 1e6;
    const absolute = (id: number, timeoutMs: number): Subscription => ({ clock: { id, timeoutMs, absolute: true } });
    expect(poll(guest, [absolute(MONOTONIC, nowMs - 5), absolute(REALTIME, Date.now() - 5)]).events).toHaveLength(2);
    const startMs = performance.now();
    expect(poll(guest, [absolute(REALTIME, Date.now() + 30)]).events).toHaveLength(1);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(28);
  });

  it('says what is ready, and what is wrong with a subscription', () => {
    const guest = start(new ScriptedBlocking());
    const file = guest.open(ROOT, 'file', { oflags: CREATE }).value!;
    guest.write(file, 'hello');
    guest.seek(file, 2, 0);
    const { events } = poll(guest, [
      { read: file },
      { write: 1 },
      { read: 77 },
      { clock: { id: 9, timeoutMs: 5 } },
      wait(1000),
    ]);
    expect(events).toEqual([
      { subscription: 0, error: 0, type: 1, bytes: 3 },
      { subscription: 1, error: 0, type: 2, bytes: 0 },
      { subscription: 2, error: Errno.badf, type: 1, bytes: 0 },
      { subscription: 3, error: Errno.inval, type: 0, bytes: 0 },
    ]);
  });

  it('goes on after an interruption with the time that remained', () => {
    const blocking = new ScriptedBlocking();
    const guest = start(blocking);
    blocking.interrupts = true;
    const startMs = performance.now();
    expect(poll(guest, [wait(400)]).result).toBe(INTERRUPTED);
    const afterMs = performance.now() + 200;
    while (performance.now() < afterMs);
    const state = host!.capture();
    const restarted = new ScriptedBlocking();
    const again = start(restarted, state);
    const restartMs = performance.now();
    expect(poll(again, [wait(400)]).events).toHaveLength(1);
    const secondWaitMs = performance.now() - restartMs;
    // Half of the wait, on a machine that may have more to do; not the whole of it.
    expect(secondWaitMs).toBeLessThan(400);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(400);
    // The next wait is a new one.
    const nextMs = performance.now();
    poll(again, [wait(20)]);
    expect(performance.now() - nextMs).toBeGreaterThanOrEqual(20);
  });

  it('refuses no subscriptions and unknown kinds', () => {
    const guest = start(new ScriptedBlocking());
    expect(poll(guest, []).result).toBe(Errno.inval);
    subscribe(guest, [wait(1)]);
    guest.view().setUint8(SUBSCRIPTIONS + 8, 3);
    expect(guest.host.call('poll_oneoff', SUBSCRIPTIONS, EVENTS, 1, RESULT)).toBe(Errno.inval);
  });
});

describe('input of a pipe', () => {
  // The test's own standard input is whatever the runner has; the class is driven as a pipe would drive it.
  const program = (directory: string): string => `
    import { InheritedInput } from ${JSON.stringify(new URL('../../dist/wasi/standard-stream.js', import.meta.url).href)};
    const pieces = [Buffer.from('abcdef'), Buffer.from('ghi')];
    let interrupts = true;
    const blocking = {
      waitUntil: () => 'elapsed', waitForInput: () => 'ready', captureRequested: () => interrupts,
      stopRequested: () => false,
      peekInput: () => Buffer.concat(pieces),
      readInput(into) {
        if (interrupts) return 'interrupted';
        const piece = pieces.shift();
        if (piece === undefined) return 0;
        into.set(piece);
        return piece.length;
      },
    };
    const input = new InheritedInput(blocking, Buffer.from('xy'));
    const out = [];
    const take = (n) => { const v = new Uint8Array(n); const c = input.read(v); out.push(c === 'interrupted' ? c : Buffer.from(v.subarray(0, c)).toString()); };
    take(1); out.push(Buffer.from(input.unreadBytes()).toString());
    take(5); take(2);
    interrupts = false;
    take(2); out.push(Buffer.from(input.unreadBytes()).toString()); out.push(input.readableBytes());
    take(100); take(100); take(100); out.push(input.readableBytes());
    console.log(JSON.stringify(out)); // ${directory}
  `;

  it('gives what a checkpoint kept first, and keeps what was read ahead', () => {
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program(scratch)], {
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual([
      'x',
      'yabcdefghi',
      'y',
      'interrupted',
      'ab',
      'cdefghi',
      4,
      'cdef',
      'ghi',
      '',
      0,
    ]);
  });
});

describe('a FIFO', () => {
  it.runIf(process.platform === 'linux')('is waited for in steps that a capture can end', () => {
    const path = join(scratch, 'fifo');
    expect(spawnSync('mkfifo', [path]).status).toBe(0);
    const blocking = new ScriptedBlocking();
    const guest = start(blocking);
    const reader = guest.open(ROOT, 'fifo', { rights: 2n | (1n << 27n) }).value!;
    const writer = openSync(path, 'w');
    blocking.interrupts = true;
    expect(guest.read(reader, 10).errno).toBe(INTERRUPTED);
    writeFileSync(writer, 'here');
    expect(guest.read(reader, 10).value).toBe('here');
    closeSync(writer);
    expect(guest.read(reader, 10).value).toBe('');
    expect(guest.seek(reader, 0, 0).errno).toBe(Errno.notcapable);
  });
});

describe('the end of a program', () => {
  it('is thrown with its code', () => {
    const guest = start(new ScriptedBlocking());
    expect(() => guest.host.call('proc_exit', 7)).toThrow(ProcessExit);
    expect(() => guest.host.call('proc_raise', 5)).toThrow('exited with code 133');
    expect(guest.host.call('proc_raise', 22)).toBe(0);
    expect(guest.host.call('proc_raise', 99)).toBe(Errno.inval);
  });

  it('sockets are none', () => {
    const guest = start(new ScriptedBlocking());
    for (const name of ['sock_accept', 'sock_recv', 'sock_send', 'sock_shutdown']) {
      expect(guest.host.call(name, ROOT, 0, 0, 0, 0, 0)).toBe(Errno.notsock);
      expect(guest.host.call(name, 77, 0, 0, 0, 0, 0)).toBe(Errno.badf);
    }
  });
});
