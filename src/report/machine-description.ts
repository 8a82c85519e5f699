/** The machine that a result was measured on. */
import type { CheckedValue } from './checked-value.ts';
import { bytesText, timeText } from './number-text.ts';

export interface MachineDescription {
  cpu: string;
  cpus: number;
  platform: string;
  node: string;
  memoryBytes: number;
}

export function readMachine(value: CheckedValue): MachineDescription {
  return {
    cpu: value.field('cpu').text(),
    cpus: value.field('cpus').count(1),
    platform: value.field('platform').text(),
    node: value.field('node').text(),
    memoryBytes: value.field('memoryBytes').count(),
  };
}

/** `Measured 2026-11-25 12:00 UTC with Node 20.19.0 on …` */
export function measuredText(machine: MachineDescription, createdMs: number): string {
  const node = machine.node.replace(/^v/, '');
  return (
    `Measured ${timeText(createdMs)} with Node ${node} on ${machine.platform}, ` +
    `${machine.cpus} × ${machine.cpu}, ${bytesText(machine.memoryBytes)} of memory.`
  );
}
