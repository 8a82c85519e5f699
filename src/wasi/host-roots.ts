import * as fs from 'node:fs';
import { basename, dirname } from 'node:path';
import { UsageError } from '../error/errors.ts';
import type { AnchorKind } from './anchor.ts';
import { Anchor } from './anchor.ts';
import type { WasiConfig } from './config.ts';

/** Anchors of the pre-opened directories, then of the directories that hold the files of the standard streams. */
export function openRoots(config: WasiConfig, kind: AnchorKind, fresh: boolean): (Anchor | undefined)[] {
  const roots: (Anchor | undefined)[] = config.preopens.map(({ hostPath }) => {
    try {
      return Anchor.root(kind, fs.realpathSync(hostPath));
    } catch (error) {
      throw cannotOpen('the directory', hostPath, error);
    }
  });
  for (const [index, target] of [config.stdin, config.stdout, config.stderr].entries()) {
    if (target.kind !== 'file') {
      roots.push(undefined);
      continue;
    }
    try {
      const path = fresh && index > 0 ? realPathOf(target.path) : fs.realpathSync(target.path);
      roots.push(Anchor.root(kind, dirname(path)));
    } catch (error) {
      throw cannotOpen('the file', target.path, error);
    }
  }
  return roots;
}

/** The path without links; the file itself may not exist yet. */
export function realPathOf(path: string): string {
  if (fs.existsSync(path)) return fs.realpathSync(path);
  const directory = fs.realpathSync(dirname(path));
  return directory.endsWith('/') ? directory + basename(path) : `${directory}/${basename(path)}`;
}

export function cannotOpen(what: string, path: string, error: unknown): UsageError {
  return new UsageError(
    'bad-argument',
    `cannot open ${what} ${path} for the program: ${error instanceof Error ? error.message : String(error)}`,
    { path },
    error,
  );
}
