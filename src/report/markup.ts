/** Text of a page that is markup already, told apart by its type from text that must be escaped. */

export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

type Part = string | number | Markup | readonly Markup[];

/** A template whose values are escaped, but for those that are markup. */
export function markup(literals: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  let text = literals[0];
  for (const [index, part] of parts.entries()) text += textOf(part) + literals[index + 1];
  return new Markup(text);
}

function textOf(part: Part): string {
  if (part instanceof Markup) return part.text;
  if (typeof part === 'object') return part.map((one) => one.text).join('');
  return String(part).replace(/[&<>"]/g, (character) => escapes[character]);
}
