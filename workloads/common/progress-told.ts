import { progress } from '../../include/continuo';

/** Tells Continuo how far a workload has come. */
export function reportProgress(done: usize, total: usize): void {
  progress(<f64>done, <f64>total);
}
