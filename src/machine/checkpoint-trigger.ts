import type { TraceTrigger } from '../format/trace-format.ts';
import { CHECKPOINT_REQUESTS, Request } from './control-words.ts';
import type { DirectedCalls } from './directed-calls.ts';

/**
 * What a captured guest is to be checkpointed for; undefined: nothing. `counted`: it has passed as many safepoints as a checkpoint is
 * wanted after. What the program itself wants is wanted once.
 */
export function checkpointTrigger(
  requests: number,
  counted: boolean,
  directed: Pick<DirectedCalls, 'wantsCheckpoint'> | undefined,
): TraceTrigger | undefined {
  if (directed?.wantsCheckpoint === true) {
    directed.wantsCheckpoint = false;
    return 'program';
  }
  if (requests & Request.steps) return 'steps';
  if (counted) return 'safepoints';
  return requests & CHECKPOINT_REQUESTS ? 'request' : undefined;
}
