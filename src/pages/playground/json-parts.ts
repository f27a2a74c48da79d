// JSON as it is shown: indented, in parts that are colored by their kind. It may still be growing, or be cut off.

/** A piece of JSON, or the space before it. */
export interface JsonPart {
  /** As highlight.js names it. */
  readonly kind: 'attr' | 'string' | 'number' | 'literal' | 'mark';
  readonly text: string;
  /** Whether the object has this key already. Programs differ in which of the two they read. */
  readonly isDuplicate?: boolean;
}

/** An empty object or list, a mark, a string with the colon of a key, or another value. */
const TOKEN = /\{\s*\}|\[\s*\]|[{}[\],:]|("(?:[^"\\]|\\.)*"?)(\s*:)?|[^\s"{}[\],:]+/gs;

/** Splits JSON into parts. Other text is a single part. */
export function jsonParts(text: string): JsonPart[] {
  if (!/^\s*[{["]/.test(text)) return [{ kind: 'mark', text }];
  /** The keys of each open object or list. */
  const open = [new Set<string>()];
  const line = () => `\n${'  '.repeat(open.length - 1)}`;
  const mark = (shown: string): JsonPart => ({ kind: 'mark', text: shown });
  return [...text.matchAll(TOKEN)].flatMap(([token, string, colon]): JsonPart[] => {
    if (string !== undefined && colon !== undefined) {
      const keys = open.at(-1)!;
      const isDuplicate = keys.has(string);
      keys.add(string);
      return [{ kind: 'attr', text: string, isDuplicate }, mark(': ')];
    }
    if (token === '{' || token === '[') {
      open.push(new Set());
      return [mark(token + line())];
    }
    if (token === '}' || token === ']') {
      if (open.length > 1) open.pop();
      return [mark(line() + token)];
    }
    if (token === ',') return [mark(token + line())];
    if (/^[{[:]/.test(token)) return [mark(token.replace(/\s/g, ''))];
    return [{ kind: kindOf(token), text: token }];
  });
}

function kindOf(token: string): JsonPart['kind'] {
  if (token.startsWith('"')) return 'string';
  return /^-?\d/.test(token) ? 'number' : 'literal';
}
