// Which modules a PEFT configuration means: peft's rules for names, suffixes and regular expressions, on the module
// names of the model. Plain names are compared here; expressions are matched by `pattern-evaluator.ts`, away from the
// thread that serves. It knows no tensors and no ranks.
import {
  type Expression,
  type ExpressionFault,
  evaluateExpressions,
  NO_LAYER,
  NO_MATCH,
} from './pattern-evaluator.ts';
import { invalidAdapter, show } from './refusal.ts';

export type ModuleMatcher = (moduleName: string) => boolean;

/** Generated patterns (vision and text towers spelled out) have about 500 characters. */
const MAX_EXPRESSION_LENGTH = 2048;
/** A configuration has two or three; ranks for each module (EVA) are written as plain names. */
const MAX_EXPRESSIONS = 32;
/**
 * Python reads `{,n}` as a repetition and `[[:` as a set; RE2 reads both otherwise, without an error. RE2's `\p{…}` and
 * `\x{…}` are errors in Python, and classes of Unicode are slow to compile.
 */
const READ_DIFFERENTLY = /\{,|\[\[:|(?<!\\)(?:\\\\)*\\(?:[pPCQEz]|x\{)/;
/** No module's name holds another character. */
const NOT_ASCII = /[^ -~]/;
/** `q_proj`, `layers.1.self_attn.q_proj`, `^model\.layers\.1\.mlp\.up_proj$`. */
const PLAIN_KEY = /^\^?(?:[\w-]|\\?\.)+\$?$/;
const FAULTS: Record<ExpressionFault, string> = {
  syntax: 'is no RE2 pattern',
  size: 'is too large',
  time: 'takes too long to compile',
};

/** The patterns of one configuration. Its matchers answer once `evaluate` has resolved, for the names it was given. */
export class PatternSet {
  readonly #expressions: (Expression & { readonly place: string })[] = [];
  readonly #indexOfName = new Map<string, number>();
  #answers = new Int32Array(0);

  /** `target_modules` or `exclude_modules` as a string: the whole name matches. */
  fullMatch(place: string, pattern: string): ModuleMatcher {
    const answer = this.#add(place, pattern, 'full');
    return (moduleName) => answer(moduleName) !== NO_MATCH;
  }

  /** A key of `rank_pattern` or `alpha_pattern`: `(.*\.)?(key)$`, whole segments from the right. */
  suffixMatch(place: string, key: string): ModuleMatcher {
    if (PLAIN_KEY.test(key)) return plainKey(key);
    const answer = this.#add(place, key, 'suffix');
    return (moduleName) => answer(moduleName) !== NO_MATCH;
  }

  /** An entry of `layers_pattern`: the number after its first match is the layer; NaN if it matches without one. */
  layerIndex(place: string, pattern: string): (moduleName: string) => number | undefined {
    const answer = this.#add(place, pattern, 'layer');
    return (moduleName) => {
      const layer = answer(moduleName);
      if (layer === NO_MATCH) return undefined;
      return layer === NO_LAYER ? Number.NaN : layer;
    };
  }

  /** Throws `ServeError` (422) with the place of a pattern that cannot be used, such as `rank_pattern[3]`. */
  async evaluate(moduleNames: readonly string[]): Promise<void> {
    if (this.#expressions.length === 0) return;
    moduleNames.forEach((name, i) => void this.#indexOfName.set(name, i));
    const expressions = this.#expressions.map(({ kind, text }) => ({ kind, text }));
    const result = await evaluateExpressions(expressions, moduleNames);
    if ('fault' in result) {
      const { place, text } = this.#expressions[result.index]!;
      throw invalidAdapter(place, `${show(text)} ${FAULTS[result.fault]}`);
    }
    this.#answers = result.answers;
  }

  #add(place: string, text: string, kind: Expression['kind']): (moduleName: string) => number {
    if (text.length > MAX_EXPRESSION_LENGTH) {
      throw invalidAdapter(place, `a pattern of more than ${MAX_EXPRESSION_LENGTH} characters`);
    }
    if (NOT_ASCII.test(text)) {
      throw invalidAdapter(place, `${show(text)} holds a character that no module's name has`);
    }
    if (READ_DIFFERENTLY.test(text)) {
      throw invalidAdapter(place, `${show(text)} means something else to RE2 than to Python`);
    }
    const index = this.#expressions.push({ place, kind, text }) - 1;
    if (index === MAX_EXPRESSIONS) {
      const message = `is the pattern beyond the ${MAX_EXPRESSIONS} that a configuration may have; plain names are not counted`;
      throw invalidAdapter(place, message);
    }
    return (moduleName) => {
      const name = this.#indexOfName.get(moduleName);
      if (name === undefined) throw new Error(`the patterns were not evaluated for ${moduleName}`);
      return this.#answers[index * this.#indexOfName.size + name]!;
    };
  }
}

/** A list of names: the module's own, or one that ends with `.` + entry. */
export function nameList(names: readonly string[]): ModuleMatcher {
  const known = new Set(names);
  return (moduleName) => suffixesOf(moduleName).some((suffix) => known.has(suffix));
}

/** `a.b.c`, `b.c`, `c`. */
function suffixesOf(moduleName: string): string[] {
  const segments = moduleName.split('.');
  return segments.map((_, start) => segments.slice(start).join('.'));
}

/** The same as the regular expression; hundreds of such keys over hundreds of modules are common (EVA). */
function plainKey(key: string): ModuleMatcher {
  const isWhole = key.startsWith('^');
  const body = key.slice(isWhole ? 1 : 0, key.endsWith('$') ? -1 : undefined);
  // `.` stands for any character, `\.` for itself.
  const wanted = body.match(/\\\.|./g)!.map((char) => (char === '.' ? undefined : char.at(-1)!));
  return (moduleName) => {
    const start = moduleName.length - wanted.length;
    if (start < 0 || (start > 0 && (isWhole || moduleName[start - 1] !== '.'))) return false;
    return wanted.every((char, i) => char === undefined || char === moduleName[start + i]);
  };
}
