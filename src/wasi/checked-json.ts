/** One checked parse for values that come back from JSON: what passes has the type it claims, or an error names the place. */

export class ShapeError extends Error {
  constructor(place: string, expected: string) {
    super(`${place} is not ${expected}`);
    this.name = 'ShapeError';
  }
}

export type Check<Value> = (value: unknown, place: string) => Value;

/** A whole number from 0 to 2⁵³ − 1. */
export const count: Check<number> = (value, place) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new ShapeError(place, 'a whole number of at least 0');
  }
  return value;
};

export const finite: Check<number> = (value, place) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new ShapeError(place, 'a number');
  return value;
};

export const text: Check<string> = (value, place) => {
  if (typeof value !== 'string') throw new ShapeError(place, 'a text');
  return value;
};

/** Digits of a whole number, perhaps with a sign; for values of 64 bits. */
export const digits: Check<string> = (value, place) => {
  if (typeof value !== 'string' || !/^-?\d{1,20}$/.test(value)) throw new ShapeError(place, 'a number in digits');
  return value;
};

export const flag: Check<boolean> = (value, place) => {
  if (typeof value !== 'boolean') throw new ShapeError(place, 'true or false');
  return value;
};

export function list<Value>(element: Check<Value>): Check<Value[]> {
  return (value, place) => {
    if (!Array.isArray(value)) throw new ShapeError(place, 'a list');
    return value.map((item, index) => element(item, `${place}[${index}]`));
  };
}

export function nullable<Value>(check: Check<Value>): Check<Value | null> {
  return (value, place) => (value === null ? null : check(value, place));
}

export function oneOf<Text extends string>(...texts: readonly Text[]): Check<Text> {
  return (value, place) => {
    const found = texts.find((candidate) => candidate === value);
    if (found === undefined) throw new ShapeError(place, `one of ${texts.join(', ')}`);
    return found;
  };
}

/** An object with exactly the fields named; others are an error, because a newer version may mean something by them. */
export function record<Shape extends object>(fields: { [Name in keyof Shape]: Check<Shape[Name]> }): Check<Shape> {
  return (value, place) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new ShapeError(place, 'an object');
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(fields, name)) throw new ShapeError(`${place}.${name}`, 'known');
    }
    const source = new Map<string, unknown>(Object.entries(value));
    const result: Partial<Shape> = {};
    for (const name in fields) result[name] = fields[name](source.get(name), `${place}.${name}`);
    return result as Shape;
  };
}

/** One of several records, told apart by the text in their field `kind`. */
export function variant<Shape extends { kind: string }>(cases: {
  [Kind in Shape['kind']]: Check<Extract<Shape, { kind: Kind }>>;
}): Check<Shape> {
  const checks = new Map<string, Check<Shape>>(Object.entries<Check<Shape>>(cases));
  return (value, place) => {
    if (typeof value !== 'object' || value === null || !('kind' in value)) throw new ShapeError(place, 'an object');
    const check = typeof value.kind === 'string' ? checks.get(value.kind) : undefined;
    if (check === undefined) throw new ShapeError(`${place}.kind`, `one of ${[...checks.keys()].join(', ')}`);
    return check(value, place);
  };
}

export function constant<Text extends string>(expected: Text): Check<Text> {
  return (value, place) => {
    if (value !== expected) throw new ShapeError(place, expected);
    return expected;
  };
}
