import { readFileSync } from 'node:fs';
import { systemErrorCode } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EISDIR: 'it is a directory',
  EACCES: 'you may not read it',
};

/**
 * The bytes of the program that was named.
 * @throws UsageError `program-not-found`; `not-wasm` for the text format, with the way to convert it.
 */
export function readProgramFile(path: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const reason = REASONS[systemErrorCode(error)] ?? (error instanceof Error ? error.message : String(error));
    throw new UsageError('program-not-found', `cannot read the program ${path}: ${reason}`, { path }, error);
  }
  if (isTextFormat(bytes)) {
    const binary = `${path.replace(/\.wat$/i, '')}.wasm`;
    throw new UsageError(
      'not-wasm',
      `${path} is WebAssembly in text format, and Continuo takes the binary format: convert it with ` +
        `"wat2wasm ${path} -o ${binary}" (of the WABT tools) and run ${binary}`,
      { path },
    );
  }
  return bytes;
}

/** Whether a file begins as a module in text format does: with an open parenthesis, after white space and comments. */
function isTextFormat(bytes: Uint8Array): boolean {
  const head = new TextDecoder('latin1').decode(bytes.subarray(0, 4096));
  return /^(\s|;;[^\n]*\n|\(;[^;]*;\))*\(\s*(module|func|memory|import|export|type|component)\b/.test(head);
}
