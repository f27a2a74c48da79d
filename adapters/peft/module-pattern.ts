// Matches module names by peft's rules for names, suffixes and regular expressions. Plain names are compared here. Regular
// expressions run in `pattern-worker.ts`, off the serving thread.

import { ServeError } from '../../src/common/errors.ts';
import { programUrl } from '../../src/common/fork-program.ts';
import { JobProcess } from '../../src/common/job-process.ts';
import { invalidAdapter, quoteValue } from './refusal.ts';

/** Whether the configuration means this module. */
export type ModuleMatcher = (moduleName: string) => boolean;

/** Generated patterns have about 500 characters. */
const MAX_EXPRESSION_LENGTH = 2048;
/** A configuration usually contains two or three. Ranks per module (EVA) are plain names. */
const MAX_EXPRESSIONS = 32;
/**
 * Python reads `{,n}` as a repetition and `[[:` as a set; RE2 silently reads them differently. RE2's `\p{…}` and `\x{…}` are
 * errors in Python, and Unicode classes are slow to compile.
 */
const READ_DIFFERENTLY = /\{,|\[\[:|(?<!\\)(?:\\\\)*\\(?:[pPCQEz]|x\{)/;
/** Module names are ASCII. */
const NOT_ASCII = /[^ -~]/;
/** `q_proj`, `layers.1.self_attn.q_proj`, `^model\.layers\.1\.mlp\.up_proj$`. */
const PLAIN_KEY = /^\^?(?:[\w-]|\\?\.)+\$?$/;
const FAULTS: Record<ExpressionFault, string> = {
  syntax: 'is not a valid RE2 pattern',
  size: 'is too large',
  time: 'takes too long to compile',
};

/** The patterns of one configuration. Matchers answer after `evaluate`, and only for its names. */
export class PatternSet {
  readonly #expressions: (Expression & { readonly field: string })[] = [];
  readonly #indexOfName = new Map<string, number>();
  #answers = new Int32Array(0);

  /** Adds `target_modules` or `exclude_modules` as a string, which matches whole names. */
  fullMatch(field: string, pattern: string): ModuleMatcher {
    const answer = this.#add(field, pattern, 'full');
    return (moduleName) => answer(moduleName) !== NO_MATCH;
  }

  /** Adds a key of `rank_pattern` or `alpha_pattern`, which matches whole segments from the right: `(.*\.)?(key)$`. */
  suffixMatch(field: string, key: string): ModuleMatcher {
    if (PLAIN_KEY.test(key)) return plainKey(key);
    const answer = this.#add(field, key, 'suffix');
    return (moduleName) => answer(moduleName) !== NO_MATCH;
  }

  /** Adds an entry of `layers_pattern`. The number after its first match is the layer; NaN if it matches without one. */
  layerIndex(field: string, pattern: string): (moduleName: string) => number | undefined {
    const answer = this.#add(field, pattern, 'layer');
    return (moduleName) => {
      const layer = answer(moduleName);
      if (layer === NO_MATCH) return undefined;
      return layer === NO_LAYER ? Number.NaN : layer;
    };
  }

  /** Matches all patterns. Throws `ServeError` (422) that names a pattern that cannot be used, such as `rank_pattern[3]`. */
  async evaluate(moduleNames: readonly string[]): Promise<void> {
    if (this.#expressions.length === 0) return;
    moduleNames.forEach((name, i) => void this.#indexOfName.set(name, i));
    const expressions = this.#expressions.map(({ kind, text }) => ({ kind, text }));
    const result = await evaluateExpressions(expressions, moduleNames);
    if ('fault' in result) {
      const { field, text } = this.#expressions[result.index]!;
      throw invalidAdapter(field, `${quoteValue(text)} ${FAULTS[result.fault]}`);
    }
    this.#answers = result.answers;
  }

  #add(field: string, text: string, kind: Expression['kind']): (moduleName: string) => number {
    if (text.length > MAX_EXPRESSION_LENGTH) {
      throw invalidAdapter(field, `has a pattern of more than ${MAX_EXPRESSION_LENGTH} characters`);
    }
    if (NOT_ASCII.test(text)) {
      throw invalidAdapter(
        field,
        `${quoteValue(text)} has a character that is not in any module's name`,
      );
    }
    if (READ_DIFFERENTLY.test(text)) {
      throw invalidAdapter(field, `${quoteValue(text)} means something else to RE2 than to Python`);
    }
    const index = this.#expressions.push({ field, kind, text }) - 1;
    if (index === MAX_EXPRESSIONS) {
      const message = `is one pattern too many: the limit is ${MAX_EXPRESSIONS}, not counting plain names`;
      throw invalidAdapter(field, message);
    }
    return (moduleName) => {
      const name = this.#indexOfName.get(moduleName);
      if (name === undefined) throw new Error(`the patterns were not evaluated for ${moduleName}`);
      return this.#answers[index * this.#indexOfName.size + name]!;
    };
  }
}

/** Matches a list of names: the module's own name, or its last segments. */
export function matchNames(names: readonly string[]): ModuleMatcher {
  const known = new Set(names);
  return (moduleName) => suffixesOf(moduleName).some((suffix) => known.has(suffix));
}

/** Returns `a.b.c`, `b.c`, `c`. */
function suffixesOf(moduleName: string): string[] {
  const segments = moduleName.split('.');
  return segments.map((_, start) => segments.slice(start).join('.'));
}

/**
 * Matches as the regular expression would, without compiling it. Hundreds of such keys over hundreds of modules are common
 * (EVA).
 */
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

// Has a child process match regular expressions. It is killed if it takes too long: the length of an expression does not predict
// its compile time.

/** A regular expression and its matching rule. */
export interface Expression {
  /** `full`: the whole name; `suffix`: a key of peft's patterns; `layer`: an entry of `layers_pattern`. */
  readonly kind: 'full' | 'suffix' | 'layer';
  readonly text: string;
}

/** Why an expression cannot be used. */
type ExpressionFault = 'syntax' | 'size' | 'time';

/** All answers, or a fault. */
export type EvaluationResult =
  /** [expression, name]: `NO_MATCH`, `NO_LAYER`, or the layer's number (0 for other kinds). */
  | { readonly answers: Int32Array<ArrayBuffer> }
  /** The first expression that cannot be used. */
  | { readonly index: number; readonly fault: ExpressionFault };

/** The work of one evaluation. The job's parts are the expressions. */
export interface EvaluationRequest {
  readonly expressions: readonly Expression[];
  readonly names: readonly string[];
}

export const NO_MATCH = -2;
/** A match of `layers_pattern` without the layer's number. */
export const NO_LAYER = -1;

const WORKER = programUrl('./pattern-worker', import.meta.url);

const evaluations = new JobProcess<EvaluationResult>('adapter patterns', WORKER, {
  deadlineMs: 1000, // a configuration's expressions usually take 5 ms; a busy machine needs more
  maxHeapMb: 64, // the largest program that is allowed takes a tenth of this
  maxRemembered: 64, // each result has up to 32 x 2,048 answers of 4 bytes
});

/**
 * Matches each expression against each name. Throws `ServeError` (`adapter_unavailable`) if the worker cannot be started.
 */
async function evaluateExpressions(
  expressions: readonly Expression[],
  names: readonly string[],
): Promise<EvaluationResult> {
  const request: EvaluationRequest = { expressions, names };
  const outcome = await evaluations.run(JSON.stringify(request)).catch((error: unknown) => {
    const message = 'adapter unavailable: its patterns cannot be read now';
    throw new ServeError('adapter_unavailable', message, { cause: error });
  });
  if ('result' in outcome) return outcome.result;
  return { index: outcome.part, fault: outcome.limit === 'time' ? 'time' : 'size' };
}
