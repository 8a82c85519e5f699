/**
 * A checkpoint that is being saved while the guest runs, out of pages as they were when it was taken. What the pager is
 * about to do to a page is told here first.
 */
export interface SaveGuard {
  /** The guest is about to write to the page, for the first time since the checkpoint was taken. */
  beforeWrite(page: number): void;
  /** The page is about to lose its frame. */
  beforeLeave(page: number): void;
  /** The page is about to be read from its slot, which must hold it by then. */
  beforePageIn(page: number): void;
  /** Slots of the paging file are about to change hands. When it returns, nothing is being saved any more. */
  beforePageOut(): void;
}
