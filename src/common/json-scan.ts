// One pass over untrusted JSON text before it is parsed, which finds its nesting, members and strings. The parser checks the
// grammar. Deeply nested values parse, but overflow the stack when they are serialized again.

/** Files that are read with `parseShallowText` have fewer than ten levels. */
const MAX_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const LOWER_U = 0x75;

/** The bounds of a scan, and its callbacks. An error that they throw ends the scan. */
interface JsonBounds {
  readonly maxDepth: number;
  /** The most members of all objects together. An empty object counts as one. Default: no limit. */
  readonly maxMembers?: number;
  /** Returns the error for an exceeded bound. */
  toError(bound: 'maxDepth' | 'maxMembers'): Error;
  /** Called with each key of the outermost object, including its quotes. */
  onOuterKey?(quoted: string): void;
  /** Takes the index of the `u` of an escape, and returns the index of the escape's last character. */
  onUnicodeEscape?(text: string, at: number): number;
}

/** Scans a text. Throws the error that `bounds` returns. */
export function scanJson(text: string, bounds: JsonBounds): void {
  const { maxDepth, maxMembers = Number.POSITIVE_INFINITY, onOuterKey, onUnicodeEscape } = bounds;
  /** For each open bracket, outermost first, whether it opens an object. */
  const open: boolean[] = [];
  let members = 0;
  let atKey = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = endOfString(text, i, onUnicodeEscape);
      if (open.length === 1 && atKey) onOuterKey?.(text.slice(i, end + 1));
      atKey = false;
      i = end;
      continue;
    }
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      open.push(code === OPEN_BRACE);
      if (open.length > maxDepth) throw bounds.toError('maxDepth');
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      open.pop();
      continue;
    } else if (code !== COMMA) continue;
    atKey = open.at(-1) === true;
    if (atKey && ++members > maxMembers) throw bounds.toError('maxMembers');
  }
}

/** Returns the index of the closing quote of the string that opens at `start`, or the end of the text. */
export function endOfString(
  text: string,
  start: number,
  onUnicodeEscape?: JsonBounds['onUnicodeEscape'],
): number {
  let i = start + 1;
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) return i;
    if (code !== BACKSLASH) continue;
    i++;
    if (onUnicodeEscape && text.charCodeAt(i) === LOWER_U) i = onUnicodeEscape(text, i);
  }
  return i;
}

/** Parses JSON. Throws `TypeError` if the bytes are not UTF-8, `SyntaxError` for invalid or too deeply nested JSON. */
export function parseShallowJson(bytes: Uint8Array): unknown {
  return parseShallowText(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
}

/** Parses JSON. Throws `SyntaxError` for invalid or too deeply nested JSON. */
export function parseShallowText(text: string): unknown {
  const toError = () => new SyntaxError(`nested deeper than ${MAX_DEPTH} levels`);
  scanJson(text, { maxDepth: MAX_DEPTH, toError });
  return JSON.parse(text);
}

/** The text of a member's value. `incomplete`: the text ends before the member does. Undefined: the object lacks the member. */
type JsonMember = { readonly text: string } | 'incomplete' | undefined;

/** A string, a bracket, a comma, a colon, or any other value. */
const TOKEN = /\s*("(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+)/suy;

/**
 * Finds a member of the object that a text begins with, so that a large file need not be parsed, or even read, as a whole. The
 * name is compared as it is usually written, without needless escapes. The value may be invalid JSON.
 */
export function jsonMember(text: string, name: string): JsonMember {
  const tokens = new RegExp(TOKEN);
  const next = () => tokens.exec(text)?.[1];
  if (next() !== '{') return undefined;
  for (;;) {
    const key = next();
    if (key === '}') return undefined;
    if (key === undefined || next() !== ':') return 'incomplete';
    const start = tokens.lastIndex;
    let depth = 0;
    do {
      const token = next();
      if (token === undefined) return 'incomplete';
      if (token === '{' || token === '[') depth++;
      else if (token === '}' || token === ']') depth--;
    } while (depth > 0);
    if (key === JSON.stringify(name)) return { text: text.slice(start, tokens.lastIndex) };
    const separator = next();
    if (separator !== ',') return separator === '}' ? undefined : 'incomplete';
  }
}
