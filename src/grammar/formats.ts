// The enforced values of `format`: all strings of a format, or the common ones.
const YEAR = '\\d{4}';
/** Years that contain 29 February. */
const LEAP_YEAR = '(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)';
const DATE = [
  `${YEAR}-(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])`,
  `${YEAR}-(0[469]|11)-(0[1-9]|[12]\\d|30)`,
  `${YEAR}-02-(0[1-9]|1\\d|2[0-8])`,
  `${LEAP_YEAR}-02-29`,
].join('|');
const HOUR = '([01]\\d|2[0-3])';
const TIME = `${HOUR}:[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]${HOUR}:[0-5]\\d)`;
const CLOCK = '(T(\\d+H(\\d+M(\\d+S)?)?|\\d+M(\\d+S)?|\\d+S))';
const DURATION = `P(\\d+W|(\\d+Y(\\d+M(\\d+D)?)?|\\d+M(\\d+D)?|\\d+D)${CLOCK}?|${CLOCK})`;
const ALNUM = '[A-Za-z0-9]';
const DASHED = '[A-Za-z0-9-]';
/**
 * Never with hyphens in both the third and the fourth position, which mark encoded labels. Four labels fit into 253 characters.
 */
const LABEL = `${ALNUM}(${DASHED}?${ALNUM}|${DASHED}(-|${ALNUM})${ALNUM}|${DASHED}(${ALNUM}${DASHED}|-${ALNUM})${DASHED}{0,55}${ALNUM})?`;
const HOST = `${LABEL}(\\.${LABEL}){0,3}`;
const ATOM = '[A-Za-z0-9_+-]{1,30}';
const EMAIL = `${ATOM}(\\.${ATOM}){0,3}@${LABEL}(\\.${LABEL}){1,3}`;
const BYTE = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = `${BYTE}(\\.${BYTE}){3}`;
const HEX = '[0-9a-fA-F]';
const GROUP = `${HEX}{1,4}`;
/** The full form, and the forms with `::` after each possible number of groups. */
const IPV6 = [
  `(${GROUP}:){7}${GROUP}`,
  ...Array.from({ length: 7 }, (_, before) => {
    const after = `(${GROUP}(:${GROUP}){0,${6 - before}})?`;
    const head = before === 0 ? '' : `${GROUP}(:${GROUP}){${before - 1}}`;
    return `${head}::${after}`;
  }),
].join('|');

/** A name of a host whose labels are not counted. */
const NAME = `${ALNUM}(-*${ALNUM}|\\.${ALNUM})*`;
/** Characters that need no escape in any part of a URI, and escaped ones. */
const PLAIN = "[A-Za-z0-9._~!$&'()*+,;=@-]";
const ESCAPED = `%${HEX}{2}`;
/** Characters of an IRI outside ASCII that are not for private use. */
const WIDE =
  '[\\u00a0-\\u1fff\\u2010-\\u2027\\u2030-\\u205e\\u2070-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\uffef]';

/** Returns the expression of URIs, or of references to them, whose parts consist of these characters. */
function uri(character: string, isReference: boolean): string {
  const segment = `(${character}|:)*`;
  const authority = `(${character}+@)?${NAME}(:[1-9]\\d{0,3})?`;
  const path = `(/${segment})*`;
  const rest = `(\\?(${character}|[:/?])*)?(#(${character}|[:/?])*)?`;
  const absolute = `[A-Za-z][A-Za-z0-9+.-]{1,20}:(//${authority}${path}|///${segment}${path}|/?(${character}|:)+${path})${rest}`;
  const relative = `(/|(/?${character}+${path})?)${rest}`;
  return isReference ? `(${absolute}|${relative})` : absolute;
}

/** Expressions that all engines read in the same way, with groups inside of groups. */
function expression(depth: number): string {
  const atom = `[A-Za-z0-9 _,:;@#%&=<>!/"'~-]|\\\\[dDwWsS.\\\\/^$*+?()[\\]{}|]|\\.|\\[\\^?(a-z|A-Z|0-9|[A-Za-z0-9_.])+-?\\]`;
  const group = depth > 0 ? `|\\((\\?:)?${expression(depth - 1)}\\)` : '';
  const item = `(${atom}${group})([*+?]|\\{[1-9]\\d?\\})?`;
  return `(${item})*(\\|(${item})+)*`;
}

const ASCII = `(${PLAIN}|${ESCAPED})`;
const UNICODE = `(${PLAIN}|${ESCAPED}|${WIDE})`;
const POINTER = '(/([^~/]|~[01])*)*';

const BASE64 = '([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?';

const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  'date-time': `(${DATE})T${TIME}`,
  duration: DURATION,
  email: EMAIL,
  'idn-email': EMAIL,
  hostname: HOST,
  'idn-hostname': HOST,
  ipv4: IPV4,
  ipv6: IPV6,
  uuid: `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`,
  uri: uri(ASCII, false),
  url: uri(ASCII, false),
  'uri-reference': uri(ASCII, true),
  iri: uri(UNICODE, false),
  'iri-reference': uri(UNICODE, true),
  'uri-template': `(${ASCII}|[:/?#]|\\{[A-Za-z0-9_]+\\})*`,
  'json-pointer': POINTER,
  'relative-json-pointer': `(0|[1-9]\\d{0,5})(#|${POINTER})`,
  byte: BASE64,
  base64: BASE64,
  regex: `\\^?${expression(2)}\\$?`,
  path: '[^\\u0000-\\u001f]+',
};

/** For strings of a bounded length: simpler expressions, and the length up to which their texts certainly have the format. */
const SHORT: Readonly<Record<string, { readonly source: string; readonly max: number }>> = {
  email: { source: `[A-Za-z0-9_+]+(\\.[A-Za-z0-9_+]+)*@${NAME}\\.[A-Za-z]+`, max: 66 },
  hostname: { source: `${ALNUM}+(\\.${ALNUM}+|-${ALNUM}+)*`, max: 63 },
};

/** Returns the simpler expression of a format, if there is one. */
export function shortFormat(format: string): { source: string; max: number } | undefined {
  return Object.hasOwn(SHORT, format) ? SHORT[format] : undefined;
}

/** Returns the expression of a format. Undefined: it is only a description. */
export function sourceOfFormat(format: string): string | undefined {
  return Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
}

/** Whether a text has the format. Always true for an unknown format. */
export function isOfFormat(value: string, format: string): boolean {
  const source = sourceOfFormat(format);
  return source === undefined || new RegExp(`^(?:${source})$`, 'u').test(value);
}
