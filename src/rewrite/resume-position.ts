/** A place in the code of the original program at which a frame can be captured. */
export interface Position {
  readonly functionIndex: number;
  /** Byte offset in the original module; 0 for an imported function. */
  readonly position: number;
  readonly kind: number;
}

/** A number for a position: byte offsets are unique in a module, and imported functions have none. */
export function positionKey({ functionIndex, position, kind }: Position): number {
  return position === 0 ? -1 - functionIndex : position * 4 + kind;
}
