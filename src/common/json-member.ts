// Cuts one member out of the text of a JSON object, so that a large file does not have to be parsed, or even read, as a whole.

/** The text of a member's value. `incomplete`: the text ends before the member does. Undefined: the object lacks the member. */
type JsonMember = { readonly text: string } | 'incomplete' | undefined;

/** One token of JSON: a string, a bracket, a comma, a colon, or any other value. */
const TOKEN = /\s*("(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+)/suy;

/** Finds a member of the object that a text begins with. The value may be invalid JSON. */
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
    for (;;) {
      const token = next();
      if (token === undefined) return 'incomplete';
      if (token === '{' || token === '[') depth++;
      else if (token === '}' || token === ']') depth--;
      if (depth === 0) break;
    }
    if (isKey(key, name)) return { text: text.slice(start, tokens.lastIndex) };
    const end = next();
    if (end === '}') return undefined;
    if (end !== ',') return 'incomplete';
  }
}

function isKey(key: string, name: string): boolean {
  try {
    return JSON.parse(key) === name;
  } catch {
    return false;
  }
}
