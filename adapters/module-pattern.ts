// Which modules a PEFT configuration means: peft's rules for names, suffixes and regular expressions, on the
// module names of the model, in time linear in the name. It knows no tensors and no ranks.
import { RE2JS } from 're2js';
import { invalidAdapter, show } from './refusal.ts';

export type ModuleMatcher = (moduleName: string) => boolean;

/** Generated patterns (vision and text towers spelled out) have about 500 characters. */
const MAX_REGEX_LENGTH = 2048;
/** Instructions of all patterns of one adapter: such a pattern has 300; 10,000 take 0.1 s over 210 modules. */
const MAX_REGEX_INSTRUCTIONS = 10_000;
/** Python reads `{,n}` as a repetition and `[[:` as a set; RE2 reads both otherwise, without an error. */
const READ_DIFFERENTLY = /\{,|\[\[:/;
/** Characters that a regular expression takes literally, and `.`, which stands for any one. */
const LITERALS_AND_DOTS = /^[\w.-]+$/;

/** Compiles the patterns of one configuration and keeps their cost in bounds. */
export class PatternCompiler {
  #instructionsLeft = MAX_REGEX_INSTRUCTIONS;

  /** `target_modules` or `exclude_modules` as a string: the whole name matches. */
  fullMatch(field: string, pattern: string): ModuleMatcher {
    const regex = this.#compile(field, pattern, `(?:${pattern})`);
    return (moduleName) => regex.matches(moduleName);
  }

  /** A key of `rank_pattern` or `alpha_pattern`: `(.*\.)?(key)$`, whole segments from the right. */
  suffixMatch(field: string, key: string): ModuleMatcher {
    if (LITERALS_AND_DOTS.test(key)) return literalSuffix(key);
    const regex = this.#compile(field, key, `(.*\\.)?(${key})`);
    return (moduleName) => regex.matches(moduleName);
  }

  /** An entry of `layers_pattern`: the number after its first match is the layer. */
  layerIndex(field: string, pattern: string): (moduleName: string) => number | undefined {
    const regex = this.#compile(field, pattern, `(?:^|.*?\\.)${pattern}\\.(?P<layer>\\d+)\\.`);
    return (moduleName) => {
      const matcher = regex.matcher(moduleName);
      // An alternative of the pattern may match without the number: a match, but no layer.
      return matcher.lookingAt() ? Number(matcher.group('layer') ?? Number.NaN) : undefined;
    };
  }

  #compile(field: string, pattern: string, source: string): RE2JS {
    if (pattern.length > MAX_REGEX_LENGTH) {
      throw invalidAdapter(field, `a pattern of more than ${MAX_REGEX_LENGTH} characters`);
    }
    if (READ_DIFFERENTLY.test(pattern)) {
      throw invalidAdapter(field, `${show(pattern)} means something else to RE2 than to Python`);
    }
    let regex: RE2JS;
    try {
      RE2JS.compile(pattern); // alone, so that no parenthesis of it closes one of ours
      regex = RE2JS.compile(source);
    } catch (error) {
      throw invalidAdapter(field, `${show(pattern)} is no RE2 pattern`, error);
    }
    this.#instructionsLeft -= regex.programSize();
    if (this.#instructionsLeft < 0) throw invalidAdapter(field, 'its patterns are too large');
    return regex;
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
function literalSuffix(key: string): ModuleMatcher {
  return (moduleName) => {
    const start = moduleName.length - key.length;
    if (start < 0 || (start > 0 && moduleName[start - 1] !== '.')) return false;
    for (let i = 0; i < key.length; i++) {
      if (key[i] !== '.' && key[i] !== moduleName[start + i]) return false;
    }
    return true;
  };
}
