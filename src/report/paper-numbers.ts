/**
 * What Hsu & Chang measured: "Continuous Checkpointing: Joining the Checkpointing with Virtual Memory Paging",
 * Software—Practice and Experience 27(9), 1997. Each number with the place in the paper that states it. The curves of
 * Figures 5 to 7 are given as pictures only, so that nothing but what the text says of them can stand here.
 */

/** "Performance evaluation", first paragraph: 12.32 MB available. */
export const paperFrames = 3154;

/** "Performance evaluation", second to fourth paragraph, and the caption of Figure 5. */
export const paperFigure5 = {
  size: 1408,
  pages: 9008,
  runMinutes: 830,
  dirtyPages: 376,
  incremental: 677,
  continuous: 75,
} as const;

/** "Performance evaluation", the paragraph on Figure 6: disk accesses saved against incremental. */
export const paperFigure6 = {
  size: 1600,
  pages: 7424,
  /** "Actually necessary when calculating each row of results". */
  workingSetPages: 2560,
  runMinutes: 135,
  leastSaved: 0.15,
  meanSaved: 0.35,
  mostSaved: 0.5167,
} as const;

/** "Performance evaluation", the paragraph on Figure 7: "larger than 1792 × 1792 … saved only two dirty pages". */
export const paperFigure7 = { turningSize: 1792, pagesBeyond: 2 } as const;

export interface PaperTime {
  readonly policy: string;
  readonly fork: boolean;
  readonly seconds: number;
}

function minutes(policy: string, fork: boolean, text: string): PaperTime {
  const [whole, seconds] = text.split(':').map(Number);
  return { policy, fork, seconds: whole * 60 + seconds };
}

/** Table I, elapsed times in minutes and seconds; a checkpoint each 40 rows. */
export const paperTable1: readonly { readonly size: number; readonly times: readonly PaperTime[] }[] = [
  {
    size: 1024,
    times: [
      minutes('none', false, '23:04'),
      minutes('sequential', false, '48:30'),
      minutes('incremental', false, '27:01'),
      minutes('continuous', false, '25:23'),
      minutes('sequential', true, '29:05'),
      minutes('incremental', true, '25:54'),
      minutes('continuous', true, '23:40'),
    ],
  },
  {
    size: 1664,
    times: [
      minutes('none', false, '136:43'),
      minutes('sequential', false, '316:49'),
      minutes('incremental', false, '178:39'),
      minutes('continuous', false, '143:08'),
      minutes('sequential', true, '235:47'),
      minutes('incremental', true, '254:34'),
      minutes('continuous', true, '149:28'),
    ],
  },
];

/** "Performance evaluation", after Table I: milliseconds to write a page, and of a copy fault. */
export const paperCosts = { pageMs: 22.9, copyFaultMs: 1.65 } as const;
