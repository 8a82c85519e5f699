/**
 * A system that fails on purpose, loaded into a process of the command by `node --require`, in all of its threads: calls of
 * `node:fs` on chosen paths fail, are cut short, lie, or kill the process before or after they were made. The rules come as
 * JSON in CONTINUO_TEST_FAULTS; see `fault-rules.ts`. CONTINUO_TEST_CLOCK makes the wall clock jump.
 */
'use strict';
const fs = require('node:fs');
const { syncBuiltinESMExports } = require('node:module');

const rules = JSON.parse(process.env.CONTINUO_TEST_FAULTS ?? '[]').map((rule) => ({ ...rule, seen: 0 }));
const real = { ...fs };
const DESCRIPTOR_CALLS = ['readSync', 'writeSync', 'fdatasyncSync', 'fsyncSync', 'ftruncateSync'];
const PATH_CALLS = ['openSync', 'renameSync', 'readdirSync', 'rmSync', 'writeFileSync'];
const ERRNO = { ENOSPC: -28, EIO: -5, EINTR: -4, EROFS: -30, EACCES: -13 };

const pathOf = (descriptor) => real.readlinkSync(`/proc/self/fd/${descriptor}`);
const stdoutPath = rules.some(({ path }) => path === '@stdout') ? pathOf(1) : undefined;

/** The fault that a call is to have, if any. */
function faultOf(call, path) {
  for (const rule of rules) {
    if (rule.call !== call) continue;
    if (rule.path === '@stdout' ? path !== stdoutPath : !path.includes(rule.path)) continue;
    const index = rule.seen++;
    if (index >= rule.from && index < rule.from + (rule.times ?? Infinity)) return rule.fault;
  }
  return undefined;
}

function systemError(code, call, path) {
  const error = new Error(`${code}: made to fail by the test, ${call} '${path}'`);
  return Object.assign(error, { code, errno: ERRNO[code], syscall: call });
}

function killSelf() {
  process.kill(process.pid, 'SIGKILL');
  // Until the signal arrives.
  for (;;);
}

for (const call of [...DESCRIPTOR_CALLS, ...PATH_CALLS]) {
  const isOfDescriptor = DESCRIPTOR_CALLS.includes(call);
  fs[call] = (first, ...rest) => {
    const path = isOfDescriptor ? pathOf(first) : String(first);
    const fault = faultOf(call, path);
    if (fault === undefined) return real[call](first, ...rest);
    if (fault === 'kill-before') killSelf();
    if (fault in ERRNO) throw systemError(fault, call, path);
    if (fault === 'short') {
      const [view, offset, length, position] = rest;
      return real[call](first, view, offset, Math.max(1, length >> 1), position);
    }
    // Claims to have done what it has not.
    if (fault === 'claim') return call === 'writeSync' ? rest[2] : undefined;
    const result = real[call](first, ...rest);
    if (fault === 'kill-after') killSelf();
    if (fault === 'other-byte') {
      const [view, offset] = rest;
      if (result > 0) view[offset + (result >> 1)] ^= 4;
    }
    return result;
  };
}
syncBuiltinESMExports();

if (process.env.CONTINUO_TEST_CLOCK !== undefined) {
  const jumps = JSON.parse(process.env.CONTINUO_TEST_CLOCK);
  const startMs = performance.now();
  const shift = () => {
    const ranMs = performance.now() - startMs;
    return jumps.reduce((sum, { afterMs, byMs }) => (ranMs >= afterMs ? sum + byMs : sum), 0);
  };
  const RealDate = Date;
  globalThis.Date = class extends RealDate {
    constructor(...values) {
      if (values.length === 0) super(RealDate.now() + shift());
      else super(...values);
    }
    static now() {
      return RealDate.now() + shift();
    }
  };
}
