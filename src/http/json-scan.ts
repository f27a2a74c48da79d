// A linear look at JSON text before it is parsed: what `JSON.parse` would accept, and we do not.
// Knows no schema; malformed text is left to the parser, which gives the error.
import { ServeError } from '../errors.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const LOWER_U = 0x75;

/**
 * Refuses nesting deeper than `maxDepth` (the parser recurses), a member named twice in the outermost object
 * (readers differ in which one counts), and `\u` escapes that are half of a surrogate pair.
 */
export function scanJson(text: string, maxDepth: number): void {
  const isObject = /^\s*\{/.test(text);
  let depth = 0;
  let atKey = false;
  const keys = new Set<string>();
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = skipString(text, i);
      if (depth === 1 && atKey) addKey(keys, text.slice(i, end + 1));
      atKey = false;
      i = end;
    } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      if (++depth > maxDepth) {
        throw new ServeError('invalid_json', `JSON is nested deeper than ${maxDepth} levels`);
      }
      atKey = code === OPEN_BRACE;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      depth--;
    } else if (code === COMMA) {
      atKey = isObject && depth === 1;
    }
  }
}

/** `i` is at the opening quote; returns the place of the closing one, or the end of the text. */
function skipString(text: string, i: number): number {
  for (i++; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) return i;
    if (code !== BACKSLASH) continue;
    i++;
    if (text.charCodeAt(i) === LOWER_U) i = skipUnicodeEscape(text, i);
  }
  return i;
}

/** `i` is at the `u`; returns the place of the escape's last character. */
function skipUnicodeEscape(text: string, i: number): number {
  const unit = hex4(text, i + 1);
  if (unit < 0xd800 || unit > 0xdfff) return i;
  const low = text.startsWith('\\u', i + 5) ? hex4(text, i + 7) : 0;
  if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff) {
    throw new ServeError('invalid_utf8', 'A \\u escape is half of a surrogate pair');
  }
  return i + 10;
}

/** NaN where there are no four hex digits: no comparison holds, and the parser refuses the text. */
function hex4(text: string, i: number): number {
  return Number.parseInt(text.slice(i, i + 4), 16);
}

function addKey(keys: Set<string>, quoted: string): void {
  let key: string;
  try {
    key = JSON.parse(quoted);
  } catch {
    return; // malformed: the parser says so
  }
  if (keys.has(key)) {
    throw new ServeError('invalid_json', 'A member of the request is given twice', {
      param: key.slice(0, 64),
    });
  }
  keys.add(key);
}
