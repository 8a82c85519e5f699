import { dirname, join } from 'node:path';
import { CorruptionError } from '../error/errors.ts';
import type { JobIdentity, JsonValue } from '../format/job-format.ts';
import { decodeHostState } from '../machine/host-state.ts';
import type { MachineState } from '../machine/machine-state.ts';
import type { WasiState } from '../wasi/wasi-state.ts';

/** A file or directory that the program has open at a checkpoint. */
export interface ReportedFile {
  readonly descriptor: number;
  readonly path: string;
  /** Undefined for a directory. */
  readonly offsetBytes?: number;
}

export function openFilesOf({ host }: MachineState, identity: JobIdentity): ReportedFile[] {
  const roots = rootsOf(identity);
  const { descriptors, files } = decodeHostState(host).wasi;
  const pathOf = ({ root, path }: WasiState['files'][number]['at']): string => join(roots[root] ?? '', path);
  return descriptors.flatMap((descriptor): ReportedFile[] => {
    const { number } = descriptor;
    switch (descriptor.kind) {
      case 'file': {
        const file = files[descriptor.file];
        if (file === undefined) throw new CorruptionError(`descriptor ${number} names a file that is not recorded`);
        return [{ descriptor: number, path: pathOf(file.at), offsetBytes: descriptor.offsetBytes }];
      }
      case 'directory':
        return [{ descriptor: number, path: pathOf(descriptor.at) }];
      case 'inputFile':
        return [{ descriptor: number, path: 'standard input', offsetBytes: descriptor.offsetBytes }];
      case 'stream':
        return [];
    }
  });
}

/** Directories of the host that locations of files begin with: see `Location` in `wasi/host-tree.ts`. */
function rootsOf(identity: JobIdentity): string[] {
  const preopens = identity['preopens'];
  const granted = Array.isArray(preopens) ? (preopens as readonly JsonValue[]) : [];
  const streams = [identity['stdin'], identity['stdout'], identity['stderr']];
  return [
    ...granted.map((grant) => textField(grant, 'hostPath')),
    ...streams.map((stream) => dirname(textField(stream, 'path'))),
  ];
}

function textField(value: JsonValue | undefined, name: string): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return '';
  const field = (value as { readonly [name: string]: JsonValue })[name];
  return typeof field === 'string' ? field : '';
}
