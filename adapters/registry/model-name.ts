// Parses a request's `model`: the base, the tenant's default, or terms that name adapters. Pure: whether a name exists is up to
// the registry.
import {
  adapterOfRun,
  aliasOfCheckpoint,
  parseTinkerPath,
} from '../../src/contracts/tinker-path.ts';
import { LATEST, NAME_PATTERN, RESERVED_NAMES } from '../repository/manifest.ts';

/** A version by number or by alias. */
export type Selector =
  | { readonly kind: 'version'; readonly version: number }
  | { readonly kind: 'alias'; readonly alias: string };

/** An adapter as a model's name refers to it. */
export interface NamedAdapter {
  readonly name: string;
  readonly selector: Selector;
  /** The base and the owner in an `ft:` name. */
  readonly origin?: { readonly base: string; readonly tenant: string };
}

/** One term of a composition. */
export interface NamedTerm {
  readonly adapter: NamedAdapter;
  /** Multiplies the adapter's update. Default: 1. */
  readonly weight: number;
}

/** A parsed `model`. */
type ModelName =
  | { readonly kind: 'base' }
  | { readonly kind: 'default' }
  | { readonly kind: 'adapters'; readonly terms: readonly NamedTerm[] };

/** Enough for the longest folder name, and for a composition of four usual `ft:` names. */
const MAX_LENGTH = 300;
/** Ranks add up, so each term makes a step more expensive. */
const MAX_TERMS = 4;
/** The largest weight of a term. Useful mixtures stay far below it; beyond it the update drowns out the base. */
export const MAX_TERM_WEIGHT = 4;

/** Matches a folder name of any length that file systems allow. Published names must also match `NAME_PATTERN`. */
const SEGMENT = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/;
const VERSION = /^[1-9]\d{0,8}$/;
const WEIGHT = /^-?(?:\d{1,3}(?:\.\d{1,6})?|\.\d{1,6})$/;
const CHECKPOINT = /^ckpt-step-\d{1,9}$/;
const FINE_TUNED = 'ft:';

/** Parses a model's name; undefined if it is malformed, which clients cannot tell from an unknown name. */
export function parseModelName(text: string): ModelName | undefined {
  if (text === 'base' || text === 'default') return { kind: text };
  if (text.length > MAX_LENGTH) return undefined;
  const written = text.split('+', MAX_TERMS + 1);
  if (written.length > MAX_TERMS) return undefined;
  const terms = written.map(parseTerm);
  return terms.every((term) => term !== undefined) ? { kind: 'adapters', terms } : undefined;
}

/** Parses `[weight*]adapter`. */
function parseTerm(text: string): NamedTerm | undefined {
  const star = text.indexOf('*');
  const factor = star < 0 ? '1' : text.slice(0, star);
  const adapter = parseNamedAdapter(text.slice(star + 1));
  if (!adapter || !WEIGHT.test(factor)) return undefined;
  const weight = Number(factor) + 0; // no negative zero
  return Math.abs(weight) <= MAX_TERM_WEIGHT ? { adapter, weight } : undefined;
}

/** Rounds a weight to the digits that a name can have. */
export function roundWeight(weight: number): number {
  return Math.round(weight * 1e6) / 1e6 + 0; // no negative zero
}

function parseNamedAdapter(text: string): NamedAdapter | undefined {
  if (text.startsWith(FINE_TUNED)) return parseFineTuned(text.slice(FINE_TUNED.length));
  const path = parseTinkerPath(text);
  if (path) {
    const selector = { kind: 'alias', alias: aliasOfCheckpoint(path) } as const;
    return { name: adapterOfRun(path.run)!, selector };
  }
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
 * Parses `{base}:{tenant}:{suffix}:{id}[:ckpt-step-N]`: the alias `{id}` of the name `{suffix}`, or of the name `{id}` if the
 * suffix is empty. Parsing starts at the end, because only the base's name may contain a colon.
 */
function parseFineTuned(text: string): NamedAdapter | undefined {
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
