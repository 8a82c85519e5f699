// Lines of text on standard output and standard error, built in a fixed place: no line of a workload is longer than it.

import { exit, writeAll } from './wasi';

const LINE_BYTES: i32 = 256;
const STDOUT: i32 = 1;
const STDERR: i32 = 2;

const line = memory.data(256);
let length: i32 = 0;

function putByte(byte: i32): void {
  if (length < LINE_BYTES) store<u8>(line + length++, <u8>byte);
}

/** Appends text of ASCII characters to the line. */
export function putText(text: string): void {
  for (let i = 0; i < text.length; i++) putByte(text.charCodeAt(i));
}

export function putNumber(value: u32): void {
  let divisor: u32 = 1;
  while (value / divisor >= 10) divisor *= 10;
  while (divisor > 0) {
    putByte(48 + ((value / divisor) % 10));
    divisor /= 10;
  }
}

/** Appends all 16 hexadecimal digits, the highest first. */
export function putHex(value: u64): void {
  for (let shift = 60; shift >= 0; shift -= 4) {
    const digit = <i32>((value >> shift) & 15);
    putByte(digit < 10 ? 48 + digit : 87 + digit);
  }
}

function writeLine(fd: i32): void {
  putByte(10);
  const whole = writeAll(fd, line, length);
  length = 0;
  // Standard error may be what failed, so there is nobody to tell but the caller of the program.
  if (!whole) exit(1);
}

export function printLine(): void {
  writeLine(STDOUT);
}

/** Ends the program with exit code 1 and a message on standard error. */
export function fail(message: string): void {
  length = 0;
  putText(message);
  writeLine(STDERR);
  exit(1);
}

/** `name size=… seed=… digest=…`: the one line of result that each workload prints last. */
export function printResult(name: string, size: u32, seed: u32, digest: u64): void {
  putText(name);
  putText(' size=');
  putNumber(size);
  putText(' seed=');
  putNumber(seed);
  putText(' digest=');
  putHex(digest);
  printLine();
}
