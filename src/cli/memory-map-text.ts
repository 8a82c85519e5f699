/** The map of a guest's memory as rows of block characters. */
import type { MemoryMap, MemoryRange } from '../inspect/memory-map.ts';
import { hexText } from '../inspect/value-text.ts';
import { PAGE_BYTES } from '../memory/layout.ts';
import { byteText, countText } from './byte-text.ts';

const INDENT = ' '.repeat(4);
const LABEL_WIDTH = 12;
const WIDE_COLUMNS = 100;
/** How much of a range: none, up to a quarter, a half, three quarters, all. */
const SHADES = [' ', '░', '▒', '▓', '█'] as const;
const ZEROS = '·';

export function memoryMapLines(map: MemoryMap, columns: number): string[] {
  const { ranges, rangePages } = map;
  const cells = columns >= WIDE_COLUMNS ? 64 : 32;
  const each = rangePages === 1 ? '1 page' : `${rangePages} pages (${byteText(rangePages * PAGE_BYTES)})`;
  const lines = [`${INDENT}a character is ${each}: ░▒▓█ by how much is frozen, ${ZEROS} all zeros`];
  for (let from = 0; from < ranges.length; from += cells) {
    const row = ranges.slice(from, from + cells);
    const end = emptyRowsEnd(ranges, from, cells);
    if (end > from + cells) {
      const last = ranges[end - 1];
      const to = last.address + last.pages * PAGE_BYTES;
      lines.push(`${addressLabel(row[0])}${ZEROS.repeat(3)} all zeros up to ${hexText(to, 8)}`);
      from = end - cells;
      continue;
    }
    const { frozen, dirty } = totalOf(row);
    lines.push(`${addressLabel(row[0])}${row.map(frozenShade).join('').padEnd(cells)}  ${frozen} frozen`);
    if (dirty > 0) {
      const shades = row.map((range) => shade(range.dirty, range.pages)).join('');
      lines.push(`${INDENT}${'dirty'.padEnd(LABEL_WIDTH)}${shades.padEnd(cells)}  ${dirty} dirty`);
    }
  }
  return lines;
}

export function memoryCounts({ pages, zero, frozen, dirty, resident }: MemoryMap): string {
  const inMemory = resident === undefined ? 'all' : String(resident);
  return `${countText(pages, 'page')}: ${frozen} frozen, ${zero} of zeros; ${dirty} dirty, ${inMemory} resident when it was taken`;
}

/** The first row behind `from` that is not all zeros. */
function emptyRowsEnd(ranges: readonly MemoryRange[], from: number, cells: number): number {
  let end = from;
  while (end < ranges.length && ranges.slice(end, end + cells).every(({ frozen, dirty }) => frozen + dirty === 0)) {
    end = Math.min(ranges.length, end + cells);
  }
  return end;
}

function totalOf(row: readonly MemoryRange[]): { frozen: number; dirty: number } {
  const total = { frozen: 0, dirty: 0 };
  for (const { frozen, dirty } of row) {
    total.frozen += frozen;
    total.dirty += dirty;
  }
  return total;
}

function addressLabel({ address }: MemoryRange): string {
  return `${INDENT}${hexText(address, 8).padEnd(LABEL_WIDTH)}`;
}

function frozenShade({ frozen, pages }: MemoryRange): string {
  return frozen === 0 ? ZEROS : shade(frozen, pages);
}

function shade(part: number, whole: number): string {
  return SHADES[Math.ceil((4 * part) / whole)];
}
