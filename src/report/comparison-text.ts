/** A comparison for the terminal: the same figures as the page, in tables that fit into some hundred columns. */
import type { Comparison } from './comparison.ts';
import {
  type MemorySummary,
  commandText,
  headlines,
  outputSentence,
  roundsText,
  summarize,
  triggerText,
} from './comparison-summary.ts';
import { type ComparisonColumn, comparisonColumns } from './comparison-table.ts';
import { measuredText } from './machine-description.ts';

const GAP = '  ';

export function comparisonText(comparison: Comparison): string {
  const memories = summarize(comparison);
  const lines = [`${commandText(comparison)}: ${triggerText(comparison)}, ${roundsText(comparison)}`, ''];
  for (const memory of memories) {
    lines.push(memory.label);
    for (const title of new Set(comparisonColumns.map(({ group }) => group))) {
      lines.push(
        '',
        ...tableLines(
          title,
          memory,
          comparisonColumns.filter(({ group }) => group === title),
        ),
      );
    }
    lines.push('');
  }
  lines.push(...headlines(comparison, memories), outputSentence(comparison));
  lines.push(measuredText(comparison.machine, comparison.createdMs));
  return `${lines.join('\n')}\n`;
}

/** Two lines of heads, then a line a policy: names to the left, figures to the right. */
function tableLines(title: string, memory: MemorySummary, columns: readonly ComparisonColumn[]): string[] {
  const rows = [
    ['', ...columns.map(({ head }) => head[0])],
    [title, ...columns.map(({ head }) => head[1])],
    ...memory.cells.map((cell) => [cell.label, ...columns.map((column) => column.text(cell))]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .filter((row) => row.some((text) => text !== ''))
    .map((row) =>
      row
        .map((text, column) => (column === 0 ? text.padEnd(widths[column]) : text.padStart(widths[column])))
        .join(GAP)
        .trimEnd(),
    );
}
