// What a request's `model` may say, as a value: the base, the tenant's default, or terms that name adapters. A pure
// reader of text: it knows no tenants, no store, and not what the base is called.
import { LATEST, NAME_PATTERN, RESERVED_NAMES } from '../repository/manifest.ts';

/** A version by number, or what an alias stands for now. */
export type Selector =
  | { readonly kind: 'version'; readonly version: number }
  | { readonly kind: 'alias'; readonly alias: string };

/** One adapter, as named. */
export interface AdapterName {
  readonly name: string;
  readonly selector: Selector;
  /** Of an `ft:` name: the base and the owner that it must be of. */
  readonly origin?: { readonly base: string; readonly tenant: string };
}

export interface NamedTerm {
  readonly adapter: AdapterName;
  /** Multiplies the adapter's update; 1 where none is written. */
  readonly weight: number;
}

export type ModelName =
  | { readonly kind: 'base' }
  | { readonly kind: 'default' }
  | { readonly kind: 'adapters'; readonly terms: readonly NamedTerm[] };

/** The longest folder's name, or a composition of four usual `ft:` names. */
const MAX_LENGTH = 300;
/** Ranks add up: each term of the largest rank would double what a step multiplies. */
const MAX_TERMS = 4;
/** Beyond it an update drowns the base; sums of useful mixtures stay far below. */
export const MAX_WEIGHT = 4;

/** A folder's name may be as long as a file system allows; a published one is checked by `NAME_PATTERN`. */
const SEGMENT = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/;
const VERSION = /^[1-9]\d{0,8}$/;
const WEIGHT = /^-?(?:\d{1,3}(?:\.\d{1,6})?|\.\d{1,6})$/;
const CHECKPOINT = /^ckpt-step-\d{1,9}$/;
const FINE_TUNED = 'ft:';

/** Undefined where it has none of the forms: whoever asks cannot tell that from an unknown name. */
export function parseModelName(text: string): ModelName | undefined {
  if (text === 'base' || text === 'default') return { kind: text };
  if (text.length > MAX_LENGTH) return undefined;
  const written = text.split('+', MAX_TERMS + 1);
  if (written.length > MAX_TERMS) return undefined;
  const terms = written.map(parseTerm);
  return terms.every((term) => term !== undefined) ? { kind: 'adapters', terms } : undefined;
}

/** `[weight*]adapter`. */
function parseTerm(text: string): NamedTerm | undefined {
  const star = text.indexOf('*');
  const factor = star < 0 ? '1' : text.slice(0, star);
  const adapter = parseAdapter(text.slice(star + 1));
  if (!adapter || !WEIGHT.test(factor)) return undefined;
  const weight = Number(factor) + 0; // no negative zero
  return Math.abs(weight) <= MAX_WEIGHT ? { adapter, weight } : undefined;
}

/** To the digits that a name can say. */
export function roundWeight(weight: number): number {
  return Math.round(weight * 1e6) / 1e6 + 0; // no negative zero
}

function parseAdapter(text: string): AdapterName | undefined {
  if (text.startsWith(FINE_TUNED)) return parseFineTuned(text.slice(FINE_TUNED.length));
  const [, name, separator, selected] = /^([^@:]*)(?:([@:])(.*))?$/s.exec(text) ?? [];
  if (!name || !SEGMENT.test(name) || RESERVED_NAMES.has(name)) return undefined;
  if (separator === '@') {
    if (!VERSION.test(selected!)) return undefined;
    return { name, selector: { kind: 'version', version: Number(selected) } };
  }
  const alias = selected ?? LATEST;
  return NAME_PATTERN.test(alias) ? { name, selector: { kind: 'alias', alias } } : undefined;
}

/**
 * `{base}:{tenant}:{suffix}:{id}[:ckpt-step-N]`: the alias `{id}` of the name `{suffix}`, or of the name `{id}` where
 * the suffix is empty. Read from the end, as only a base's own name may hold a colon.
 */
function parseFineTuned(text: string): AdapterName | undefined {
  const fields = text.split(':');
  const checkpoint = fields.length > 4 && CHECKPOINT.test(fields.at(-1)!) ? fields.pop() : '';
  const [tenant, suffix, id] = fields.slice(-3);
  const base = fields.slice(0, -3).join(':');
  if (!base || !tenant || suffix === undefined || !id) return undefined;
  const name = suffix || id;
  const alias = checkpoint ? `${id}.${checkpoint}` : id;
  if (![name, id, alias].every((segment) => NAME_PATTERN.test(segment))) return undefined;
  return { name, selector: { kind: 'alias', alias }, origin: { base, tenant } };
}
