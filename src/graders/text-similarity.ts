// Similarities of two texts between 0 and 1, each equal to its usual Python package: fuzzy_match to rapidfuzz's ratio, bleu to
// sacrebleu's sentence BLEU, gleu and meteor to nltk's, rouge to rouge-score's F1. Pure.
import { meteor } from './meteor.ts';

/** The metrics that need nothing but the two texts. */
export const TEXT_METRICS = [
  'fuzzy_match',
  'bleu',
  'gleu',
  'meteor',
  'rouge_1',
  'rouge_2',
  'rouge_3',
  'rouge_4',
  'rouge_5',
  'rouge_l',
] as const;

/** One of the metrics. */
export type TextMetric = (typeof TEXT_METRICS)[number];

type Tokens = readonly string[];

const METRICS: Readonly<Record<TextMetric, (text: string, reference: string) => number>> = {
  fuzzy_match: (text, reference) => indelRatio([...text], [...reference]),
  bleu: (text, reference) => bleu(tokens13a(text), tokens13a(reference)),
  gleu: (text, reference) => gleu(words(text), words(reference)),
  meteor: (text, reference) => meteor(words(text), words(reference)),
  rouge_1: rougeOf(1),
  rouge_2: rougeOf(2),
  rouge_3: rougeOf(3),
  rouge_4: rougeOf(4),
  rouge_5: rougeOf(5),
  rouge_l(text, reference) {
    const [own, wanted] = [rougeTokens(text), rougeTokens(reference)];
    return f1(commonLength(own, wanted), own.length, wanted.length);
  },
};

/** Returns how similar a text is to the reference. */
export function textSimilarity(metric: TextMetric, text: string, reference: string): number {
  return METRICS[metric](text, reference);
}

/** The share of characters that are in the longest common subsequence. */
function indelRatio(a: Tokens, b: Tokens): number {
  const total = a.length + b.length;
  return total === 0 ? 1 : (2 * commonLength(a, b)) / total;
}

/** Bits of a word. The sum of two words and a carry is still a small integer. */
const WORD_BITS = 30;
const FULL = 2 ** WORD_BITS - 1;

/**
 * Returns the length of the longest common subsequence, 30 cells of the usual table at a time (Hyyrö 2004): a zero bit of `row`
 * marks a column in which the table's last row grows.
 */
export function commonLength(a: Tokens, b: Tokens): number {
  const size = Math.ceil(a.length / WORD_BITS);
  const places = new Map<string, Int32Array>();
  for (const [i, item] of a.entries()) {
    const bits = places.get(item) ?? new Int32Array(size);
    places.set(item, bits);
    bits[Math.floor(i / WORD_BITS)]! |= 1 << (i % WORD_BITS);
  }
  const row = new Int32Array(size).fill(FULL);
  for (const item of b) {
    const bits = places.get(item);
    if (bits) advanceRow(row, bits);
  }
  let length = 0;
  for (let i = 0; i < a.length; i++) {
    if ((row[Math.floor(i / WORD_BITS)]! & (1 << (i % WORD_BITS))) === 0) length++;
  }
  return length;
}

/** Adds a row to the table. `bits` marks the columns whose item is the row's. */
function advanceRow(row: Int32Array, bits: Int32Array): void {
  let carry = 0;
  for (let i = 0; i < row.length; i++) {
    const cells = row[i]!;
    const matched = cells & bits[i]!;
    const sum = cells + matched + carry;
    carry = sum >>> WORD_BITS;
    row[i] = (sum | (cells & ~matched)) & FULL;
  }
}

const words = (text: string): Tokens => text.split(/\s+/).filter((word) => word !== '');

/** rouge-score's tokens: lower case, letters and digits of ASCII. */
function rougeTokens(text: string): Tokens {
  return words(text.toLowerCase().replace(/[^a-z0-9]+/g, ' '));
}

function rougeOf(n: number) {
  return (text: string, reference: string) => {
    const [own, wanted] = [ngrams(rougeTokens(text), n), ngrams(rougeTokens(reference), n)];
    return f1(matches(own, wanted), sizeOf(own), sizeOf(wanted));
  };
}

function f1(common: number, own: number, wanted: number): number {
  return common === 0 ? 0 : (2 * common) / (own + wanted);
}

/** Counts n-grams. */
function ngrams(tokens: Tokens, n: number): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + n <= tokens.length; start++) {
    const ngram = tokens.slice(start, start + n).join(' ');
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
}

function matches(own: ReadonlyMap<string, number>, wanted: ReadonlyMap<string, number>): number {
  let common = 0;
  for (const [ngram, count] of own) common += Math.min(count, wanted.get(ngram) ?? 0);
  return common;
}

const sizeOf = (counts: ReadonlyMap<string, number>) =>
  [...counts.values()].reduce((sum, count) => sum + count, 0);

/** The longest n-grams of BLEU and GLEU. */
const MAX_ORDER = 4;

/** The smaller of precision and recall of all n-grams together. */
function gleu(own: Tokens, wanted: Tokens): number {
  let [common, sizeOfOwn, sizeOfWanted] = [0, 0, 0];
  for (let n = 1; n <= MAX_ORDER; n++) {
    const [of, ref] = [ngrams(own, n), ngrams(wanted, n)];
    common += matches(of, ref);
    sizeOfOwn += sizeOf(of);
    sizeOfWanted += sizeOf(ref);
  }
  return common / Math.max(sizeOfOwn, sizeOfWanted, 1);
}

/** Sentence BLEU: orders beyond the text's length do not count, and those without a match get half of the share before. */
function bleu(own: Tokens, wanted: Tokens): number {
  let [logs, orders, smoothing, isAny] = [0, 0, 1, false];
  for (let n = 1; n <= MAX_ORDER && n <= own.length; n++) {
    const common = matches(ngrams(own, n), ngrams(wanted, n));
    const total = own.length - n + 1;
    if (common > 0) isAny = true;
    else smoothing *= 2;
    logs += Math.log((common > 0 ? common : 1 / smoothing) / total);
    orders++;
  }
  if (!isAny) return 0;
  const brevity = own.length < wanted.length ? Math.exp(1 - wanted.length / own.length) : 1;
  return brevity * Math.exp(logs / orders);
}

const ENTITIES: readonly (readonly [entity: string, character: string])[] = [
  ['&quot;', '"'],
  ['&amp;', '&'],
  ['&lt;', '<'],
  ['&gt;', '>'],
];
const SPACED: readonly (readonly [pattern: RegExp, text: string])[] = [
  [/([{-~[-` -&(-+:-@/])/g, ' $1 '],
  [/([^0-9])([.,])/g, '$1 $2 '],
  [/([.,])([^0-9])/g, ' $1 $2'],
  [/([0-9])(-)/g, '$1 $2 '],
];

/** The tokens of mteval-v13a. */
function tokens13a(text: string): Tokens {
  let line = text.trimEnd().replaceAll('<skipped>', '').replaceAll('-\n', '').replaceAll('\n', ' ');
  for (const [entity, character] of ENTITIES) line = line.replaceAll(entity, character);
  line = ` ${line} `;
  for (const [pattern, spaced] of SPACED) line = line.replace(pattern, spaced);
  return words(line);
}
