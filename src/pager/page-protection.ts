/**
 * Makes what the access bytes of pages say true of the guest, where that does not look at them itself: the kernel then
 * stops it at pages that it has no access to. Everything else of a pager is the same with and without it.
 *
 * The guest stands still while any of this is called, and until the changes are settled.
 */
export interface PageProtection {
  /** The access byte of a page was changed. */
  accessChanged(page: number): void;
  /** Whether the guest has written a page since its byte says `readable`: it raises no byte by itself. */
  wasWritten(page: number): boolean;
  /** Raises the bytes of the readable pages among the first `pageCount` that the guest has written. */
  noteWrites(pageCount: number): void;
  /** Copies resident pages of a list, `from … from + count − 1`, to this address of the machine's memory and behind it. */
  stage(pages: Uint32Array, from: number, count: number, at: number): void;
  /** Absent pages, neighbours, get a frame; their contents lie at this address of the machine's memory until the changes are settled. */
  arrived(firstPage: number, count: number, at: number): void;
  /** The same, and they hold zeros. */
  arrivedAsZeros(firstPage: number, count: number): void;
}
