// Writes random texts that a constraint allows, and the plain twin of its matcher.
import type { Constraint } from '../../src/contracts/generation.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import type { Matcher } from '../../src/grammar/matcher.ts';
import { compiled } from './compiled.ts';

/** A tokenizer of these texts. The bytes of all others are tokens too if `withBytes`. */
export function vocabularyOf(texts: readonly string[], { withBytes = true } = {}) {
  const bytes = withBytes ? Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)) : [];
  const tokens = [...bytes, ...texts.map((text) => new TextEncoder().encode(text))];
  return {
    vocabSize: tokens.length,
    specialIds: new Set<number>(),
    tokenBytes: (id: number) => tokens[id] ?? new Uint8Array(),
    /** Byte by byte, or nothing. */
    encodeInside: (text: string): readonly number[] => (withBytes ? [...Buffer.from(text)] : []),
  };
}

/** The ids of a set. */
export function idsOf(set: Uint32Array): number[] {
  const ids: number[] = [];
  for (let id = 0; id < set.length * 32; id++) if ((set[id >> 5]! >>> (id & 31)) & 1) ids.push(id);
  return ids;
}

/** A source of numbers in [0, 1) that always gives the same. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Tokens of JSON. */
export const WORDS = [
  '{"',
  '":"',
  '","',
  '":',
  '"}',
  'e1',
  '0.',
  '-1',
  'true',
  'null',
  'abc',
  '2024-',
  '\\n',
  '"a',
  '19',
  '00',
];

export class Writer {
  readonly #tokenizer = vocabularyOf(WORDS);
  readonly #grammars = new Grammars(this.#tokenizer, this.#tokenizer.vocabSize);

  matcher(constraint: Constraint): Matcher {
    return this.#grammars.createMatcher(compiled(constraint));
  }

  /** A random text of the constraint; undefined if it is not complete after `maxTokens`. Ends as soon as it may, half of the time. */
  write(constraint: Constraint, random: () => number, maxTokens = 400): string | undefined {
    const matcher = this.matcher(constraint);
    const bytes: number[] = [];
    for (let i = 0; i < maxTokens; i++) {
      if (matcher.isComplete || (matcher.canEnd && random() < 0.5))
        return Buffer.from(bytes).toString();
      const ids = idsOf(matcher.allowed());
      if (ids.length === 0) throw new Error(`nothing may follow ${Buffer.from(bytes)}`);
      // Closing tokens and plain letters more often, because texts would rarely end otherwise.
      const usual = ids.filter(
        (id) => '"}],abc109.'.includes(String.fromCharCode(id)) || id >= 256,
      );
      const pool = usual.length > 0 && random() < 0.8 ? usual : ids;
      const id = pool[Math.floor(random() * pool.length)]!;
      matcher.accept(id);
      bytes.push(...this.#tokenizer.tokenBytes(id));
    }
    return undefined;
  }

  /** Whether the constraint allows exactly this text, byte by byte. */
  allows(constraint: Constraint, text: string): boolean {
    const matcher = this.matcher(constraint);
    for (const byte of Buffer.from(text)) {
      if (!idsOf(matcher.allowed()).includes(byte)) return false;
      matcher.accept(byte);
    }
    return matcher.canEnd;
  }
}
