import { ChunkKind } from '../format/restart-format.ts';
import type { CheckpointName } from '../machine/checkpoint-name.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { ChunkReader, type RestartInput } from './chunk-reader.ts';
import { parseCheckpoint } from './restart-content.ts';

/**
 * Which checkpoint a restart file holds. All of it is read and checked on the way.
 * @throws UsageError `not-a-restart-file`, `restart-file-newer`, `wrong-key`; CorruptionError; StorageError.
 */
export function nameInFile(input: RestartInput, secret: Secret | undefined): CheckpointName {
  const reader = new ChunkReader(input, secret);
  while (reader.peek().kind < ChunkKind.checkpoint) reader.next();
  const { name } = parseCheckpoint(reader.parts(ChunkKind.checkpoint, 'checkpoint'), input.path);
  while (reader.peek().kind !== ChunkKind.end) reader.next();
  reader.end();
  return name;
}
