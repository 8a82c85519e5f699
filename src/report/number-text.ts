/** Measured values as people read them. One way for each kind of value, so that page, terminal and sentences agree. */

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** About three digits that mean something; thousands are grouped, whole numbers stay whole. */
export function countText(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 99.95) return grouped.format(value);
  return value.toFixed(Math.abs(value) < 9.995 ? 2 : 1);
}

/** `+2.6 %` of the ratio 1.026. */
export function overheadText(ratio: number): string {
  const percent = ((ratio - 1) * 100).toFixed(1);
  if (Number(percent) === 0) return '0.0 %';
  return `${percent.startsWith('-') ? `−${percent.slice(1)}` : `+${percent}`} %`;
}

/** `35.2 %` of the part 0.352. */
export function shareText(part: number): string {
  return `${(part * 100).toFixed(1)} %`.replace('-', '−');
}

export function durationText(ms: number): string {
  if (ms === 0) return '0 ms';
  if (ms < 0.9995) return `${countText(ms * 1000)} µs`;
  if (ms < 999.5) return `${countText(ms)} ms`;
  return ms < 99_950 ? `${(ms / 1000).toFixed(2)} s` : `${grouped.format(ms / 1000)} s`;
}

/** `48:30`, as the paper writes times. */
export function minutesText(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** In units of a thousand: kB, MB, GB. */
export function bytesText(bytes: number): string {
  if (bytes < 999.5) return `${countText(bytes)} B`;
  if (bytes < 999_500) return `${countText(bytes / 1e3)} kB`;
  return bytes < 999.5e6 ? `${countText(bytes / 1e6)} MB` : `${countText(bytes / 1e9)} GB`;
}

/** `a`, `a and b`, `a, b and c`. */
export function listText(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
}

/** The day and minute of a result, in coordinated universal time, so that a page says the same everywhere. */
export function timeText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

export function capitalized(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
