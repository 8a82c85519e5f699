/** Random numbers that follow from a seed, and what is done by them to files. */

/** A function that gives a whole number below its argument (mulberry32). */
export function random(seed) {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * limit);
  };
}

/** Numbers at which readers go wrong. */
const EDGES = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];
/** Bytes behind a spot that are hit more often than others. */
const SPOT_BYTES = 160;

/** Copies of the files of a target, one or two of which are damaged in some places. */
export function mutate(draw, { files, damaged, spots }) {
  const copy = new Map(files);
  for (let left = 1 + (draw(4) === 0 ? 1 : 0); left > 0; left--) {
    const name = damaged[draw(damaged.length)];
    let bytes = Uint8Array.from(copy.get(name));
    for (let times = 1 + (draw(3) === 0 ? draw(6) : 0); times > 0; times--)
      bytes = damage(draw, bytes, spots, copy, damaged);
    copy.set(name, bytes);
  }
  return copy;
}

function damage(draw, bytes, spots, files, names) {
  if (bytes.length === 0) return Uint8Array.of(draw(256));
  const place = () => {
    if (draw(2) === 0) return draw(bytes.length);
    return Math.min(bytes.length - 1, spots[draw(spots.length)] + draw(SPOT_BYTES));
  };
  const at = place();
  switch (draw(10)) {
    case 0:
    case 1:
      bytes[at] ^= 1 << draw(8);
      return bytes;
    case 2:
      bytes[at] = draw(256);
      return bytes;
    case 3:
    case 4: {
      const word = at & ~3;
      if (word + 4 <= bytes.length) new DataView(bytes.buffer).setUint32(word, EDGES[draw(EDGES.length)], true);
      return bytes;
    }
    case 5:
      return bytes.slice(0, at);
    case 6: {
      const longer = new Uint8Array(bytes.length + 1 + draw(5000));
      longer.set(bytes);
      return longer;
    }
    case 7:
      bytes.copyWithin(place(), at, at + 1 + draw(600));
      return bytes;
    case 8:
      bytes.fill(draw(2) === 0 ? 0 : draw(256), at, at + 1 + draw(600));
      return bytes;
    default: {
      // A piece of another file, or of this one.
      const other = files.get(names[draw(names.length)]);
      const from = draw(other.length);
      bytes.set(other.subarray(from, from + Math.min(draw(5000), bytes.length - at)), at);
      return bytes;
    }
  }
}
