// What an AssemblyScript program may tell Continuo; see continuo.h beside this file for what each of them does.
//
//   import { progress } from '<path to>/include/continuo';

/** Takes a checkpoint here; 0 behind it, 1 when the program goes on from it in a later run. */
@external("continuo", "checkpoint")
export declare function checkpoint(): i32;

/** Whole pages among these bytes are left out of checkpoints, and hold anything after a restart. */
@external("continuo", "exclude")
export declare function exclude(address: usize, length: usize): void;

/** These bytes are saved again. */
@external("continuo", "include")
export declare function include(address: usize, length: usize): void;

/** `done` steps of `total` are done. */
@external("continuo", "progress")
export declare function progress(done: f64, total: f64): void;
