// Parses JSON that somebody else wrote, within a bound on its nesting: a value that was nested a thousand times deeper
// parses, and then overflows the stack of whoever writes it out again. Knows no schema.

/** Every file that is read so has under ten levels. */
const MAX_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** Throws `SyntaxError` if the text is not JSON, or is nested deeper than 64 levels. */
export function parseShallowJson(text: string): unknown {
  checkDepth(text);
  return JSON.parse(text);
}

/** The same for UTF-8; also throws `TypeError` if the bytes are not that. */
export function parseShallowJsonBytes(bytes: Uint8Array): unknown {
  return parseShallowJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
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

/** `start` is at the opening quote. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) return i;
    if (code === BACKSLASH) i++;
  }
  return text.length;
}
