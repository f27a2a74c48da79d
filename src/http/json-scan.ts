// A linear look at JSON text before it is parsed: what `JSON.parse` would accept, and we do not.
// Knows no schema; malformed text is left to the parser, which gives the error.
import { type ErrorCode, ServeError } from '../common/errors.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const LOWER_U = 0x75;

export interface JsonBounds {
  maxJsonDepth: number;
  /** Of all objects together; an empty one counts as one. */
  maxJsonMembers: number;
}

/**
 * Refuses nesting deeper than `maxJsonDepth` (the parser recurses), more than `maxJsonMembers` members (each key is a
 * string of its own), a member named twice in the outermost object (readers differ in which one counts), and `\u`
 * escapes that are half of a surrogate pair.
 */
export function scanJson(text: string, { maxJsonDepth, maxJsonMembers }: JsonBounds): void {
  const outer = new OuterKeys();
  /** Whether what is open, from the outermost in, is an object. */
  const open: boolean[] = [];
  let members = 0;
  let atKey = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = skipString(text, i);
      if (open.length === 1 && atKey) outer.add(text.slice(i, end + 1));
      atKey = false;
      i = end;
      continue;
    }
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      open.push(code === OPEN_BRACE);
      if (open.length > maxJsonDepth)
        throw outer.fault('invalid_json', `JSON is nested deeper than ${maxJsonDepth} levels`);
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      open.pop();
      continue;
    } else if (code !== COMMA) continue;
    atKey = open.at(-1) === true;
    if (atKey && ++members > maxJsonMembers)
      throw outer.fault('invalid_request', `The body has more than ${maxJsonMembers} members`);
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

/** The names of the outermost object's members so far; the last one is where the scan is. */
class OuterKeys {
  readonly #keys = new Set<string>();
  #last: string | undefined;

  add(quoted: string): void {
    let key: string;
    try {
      key = JSON.parse(quoted);
    } catch {
      return; // malformed: the parser says so
    }
    this.#last = key;
    if (this.#keys.has(key))
      throw this.fault('invalid_json', 'A member of the request is given twice');
    this.#keys.add(key);
  }

  fault(code: ErrorCode, message: string): ServeError {
    const param = this.#last?.slice(0, 64);
    return new ServeError(code, message, param ? { param } : {});
  }
}
