/** What paging did since the memory was attached, and what is in memory now. */
export interface PagingStats {
  readonly frames: number;
  readonly residentPages: number;
  /** Resident pages that leave next: they have no access, and come back without I/O when they are touched. */
  readonly inactivePages: number;
  /** Touches of resident pages that had lost their access. */
  readonly softFaults: number;
  /** Touches of pages that had to be read from the paging file. */
  readonly hardFaults: number;
  /** Touches of absent pages that hold zeros, which is no I/O. */
  readonly zeroFaults: number;
  /** First writes of the program to a readable page, which it notes by itself. */
  readonly firstWrites: number;
  /** Pages written between checkpoints: because they leave, or ahead of that. */
  readonly pageOuts: number;
  /** Those of them that did not leave at that time. */
  readonly pageOutsAhead: number;
  /** System calls that wrote them. */
  readonly clusters: number;
  /** Pages that left, written or not. */
  readonly evictions: number;
  /** Those of them that were clean, or zero. */
  readonly cleanEvictions: number;
  /** Pages read from the paging file: hard faults and what was read ahead with them. */
  readonly pageIns: number;
  readonly readAheadPages: number;
  /** Those of them that were touched before they left. */
  readonly readAheadUsed: number;
  /** First writes to a page since the last checkpoint that the pager was told of, as by a write-protection fault. */
  readonly protectionFaults: number;
  /** Mean time of one in the pager, microseconds, where the page was in memory. */
  readonly protectionUs: number;
  /** Times that all pages had to be opened at once, and counted as written, since the system allows too few mappings. */
  readonly mappingOverflows: number;
  /** The most pages that were resident beyond the frames, because host functions held them. */
  readonly heldOverflowMax: number;
}
