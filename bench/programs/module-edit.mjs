// Small edits of a module's binary form.

const EXPORT_SECTION = 7;

/** The module without its other exports. */
export function keepExports(bytes, names) {
  const parts = [bytes.subarray(0, 8)];
  for (let at = 8; at < bytes.length;) {
    const size = unsigned(bytes, at + 1);
    const end = size.end + size.value;
    parts.push(bytes[at] === EXPORT_SECTION ? exportSection(bytes, size.end, names) : bytes.subarray(at, end));
    at = end;
  }
  return Buffer.concat(parts);
}

function exportSection(bytes, start, names) {
  const count = unsigned(bytes, start);
  const kept = [];
  for (let i = 0, at = count.end; i < count.value; i++) {
    const name = unsigned(bytes, at);
    const nameEnd = name.end + name.value;
    const { end } = unsigned(bytes, nameEnd + 1);
    if (names.includes(Buffer.from(bytes.subarray(name.end, nameEnd)).toString())) kept.push(bytes.subarray(at, end));
    at = end;
  }
  const body = Buffer.concat([encoded(kept.length), ...kept]);
  return Buffer.concat([Buffer.of(EXPORT_SECTION), encoded(body.length), body]);
}

function unsigned(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value |= (byte & 127) << shift;
    if (byte < 128) return { value: value >>> 0, end: at };
  }
}

function encoded(value) {
  const bytes = [];
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
  return Buffer.from([...bytes, value]);
}
