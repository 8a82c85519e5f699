// Command lines of the workloads: two decimal numbers, and flags where a workload has them.

import { allocate } from './arena';
import { fail } from './output';
import { argumentBytes, argumentCount, readArguments } from './wasi';

let pointers: usize = 0;
let count: i32 = 0;

/** Reads the command line; must come before the other functions of this file. */
export function openArguments(): void {
  count = argumentCount();
  pointers = allocate(<u64>count * 4 + argumentBytes());
  if (!readArguments(pointers, pointers + <usize>count * 4)) fail('the host gives no arguments');
}

/** Arguments after the program's name. */
export function givenCount(): i32 {
  return count - 1;
}

function argument(index: i32): usize {
  return <usize>load<u32>(pointers + ((<usize>(index + 1)) << 2));
}

/** The argument, counted from 0 after the program's name, as a decimal number; the usage error when it is none. */
export function numberArgument(index: i32, least: u32, most: u32, usage: string): u32 {
  if (index >= givenCount()) fail(usage);
  let address = argument(index);
  let value: u64 = 0;
  if (load<u8>(address) == 0) fail(usage);
  while (load<u8>(address) != 0) {
    const digit = <u32>load<u8>(address++) - 48;
    if (digit > 9) fail(usage);
    value = value * 10 + digit;
    if (value > most) fail(usage);
  }
  if (value < least) fail(usage);
  return <u32>value;
}

/** Whether the argument is exactly this text of ASCII characters. */
export function isArgument(index: i32, text: string): bool {
  if (index >= givenCount()) return false;
  const address = argument(index);
  for (let i = 0; i < text.length; i++) {
    if (load<u8>(address + i) != text.charCodeAt(i)) return false;
  }
  return load<u8>(address + text.length) == 0;
}
