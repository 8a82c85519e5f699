/** Reads a result file value by value; a file that is not what it should be is refused with the place in it. */
import { UsageError } from '../error/errors.ts';

/** A value of a parsed JSON file together with its place there. */
export class CheckedValue {
  readonly #file: string;
  readonly #place: string;
  readonly #value: unknown;

  private constructor(file: string, place: string, value: unknown) {
    this.#file = file;
    this.#place = place;
    this.#value = value;
  }

  /** The whole of a file; `file` is its name for messages. */
  static parse(text: string, file: string): CheckedValue {
    try {
      return new CheckedValue(file, '', JSON.parse(text));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new UsageError('bad-argument', `${file} is not JSON: ${reason}`, { file }, error);
    }
  }

  field(name: string): CheckedValue {
    if (typeof this.#value !== 'object' || this.#value === null || Array.isArray(this.#value)) this.refuse('an object');
    const place = this.#place === '' ? name : `${this.#place}.${name}`;
    const value: unknown = Object.hasOwn(this.#value, name) ? Reflect.get(this.#value, name) : undefined;
    return new CheckedValue(this.#file, place, value);
  }

  get isMissing(): boolean {
    return this.#value === undefined;
  }

  text(): string {
    if (typeof this.#value !== 'string') this.refuse('a text');
    return this.#value;
  }

  flag(): boolean {
    if (typeof this.#value !== 'boolean') this.refuse('true or false');
    return this.#value;
  }

  /** A finite number that is not negative: all measured values are. */
  amount(): number {
    const value = this.#value;
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) this.refuse('a number of at least 0');
    return value;
  }

  /** A whole number from a lower limit up. */
  count(least = 0): number {
    const value = this.#value;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least) {
      this.refuse(`a whole number of at least ${least}`);
    }
    return value;
  }

  oneOf<const T extends string | number>(values: readonly T[]): T {
    const found = values.find((value) => value === this.#value);
    if (found === undefined) this.refuse(values.map((value) => JSON.stringify(value)).join(' or '));
    return found;
  }

  list<T>(read: (entry: CheckedValue) => T, least = 0): T[] {
    const value = this.#value;
    if (!Array.isArray(value) || value.length < least) {
      this.refuse(least === 0 ? 'a list' : `a list of at least ${least}`);
    }
    return value.map((entry: unknown, index) => read(new CheckedValue(this.#file, `${this.#place}[${index}]`, entry)));
  }

  orNull<T>(read: (value: CheckedValue) => T): T | null {
    return this.#value === null ? null : read(this);
  }

  refuse(expected: string): never {
    const place = this.#place === '' ? 'the whole' : this.#place;
    const found = shown(this.#value);
    throw new UsageError('bad-argument', `${this.#file}: ${place} must be ${expected}, and is ${found}`, {
      file: this.#file,
      place,
      expected,
      found,
    });
  }
}

function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}…`;
}
