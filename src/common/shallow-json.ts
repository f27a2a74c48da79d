// Parses JSON from untrusted sources with a limit on nesting. Deeply nested values parse, but overflow the stack when
// they are serialized again. Does not know any schema.

/** The files that are read this way have fewer than ten levels. */
const MAX_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** Parses JSON. Throws `TypeError` if the bytes are not UTF-8, `SyntaxError` for invalid or too deeply nested JSON. */
export function parseShallowJson(bytes: Uint8Array): unknown {
  return parseShallowText(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
}

/** Parses JSON. Throws `SyntaxError` for invalid or too deeply nested JSON. */
export function parseShallowText(text: string): unknown {
  checkDepth(text);
  return JSON.parse(text);
}

function checkDepth(text: string): void {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) i = endOfString(text, i);
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      if (++depth > MAX_DEPTH) throw new SyntaxError(`nested deeper than ${MAX_DEPTH} levels`);
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth--;
  }
}

/** Returns the index of the closing quote. `start` is at the opening one. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) return i;
    if (code === BACKSLASH) i++;
  }
  return text.length;
}
