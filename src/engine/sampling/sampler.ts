// Samples the next token of one sequence from its row of logits, and reports its log-probability. Works on token ids; the
// caller turns them into text. The engine checks `isFiniteRow` first.
import { randomBytes } from 'node:crypto';
import type { SamplingParams, TokenLogprob } from '../../contracts/generation.ts';
import type { WorkBudget } from '../../contracts/work-budget.ts';
import { TOP_LOGITS_COUNT } from '../../model/top-logits.ts';
import { type LogitsRow, scoreToken, type TopLogits } from '../logits.ts';
import { chooseToken, probabilities, type Random } from './choose.ts';
import { Constraints, type TokenBan, type TokenMatcher } from './constraints.ts';
import { Penalties } from './penalties.ts';

/** A sampled token. */
interface SampledToken {
  id: number;
  /** Set if the request asked for logprobs. */
  logprob?: TokenLogprob;
}

/** Samples the tokens of one sequence. Owns the sequence's token counts and random state. */
export interface Sampler {
  /**
   * Samples the next token from a finite row, and counts it as generated. Returns undefined if the constraints of the
   * request allow no token.
   */
  sample(row: LogitsRow): SampledToken | undefined;
  /** Restricts the sequence to what a grammar allows. Called before the first token. */
  follow(matcher: TokenMatcher): void;
  /** Keeps words out of the sequence. Called before the first token. */
  ban(words: TokenBan): void;
  /** Sets the budget of the matching in the next calls. Sequences can share one. Before the first one there is no limit. */
  setBudget(budget: WorkBudget): void;
  /**
   * Does the matching that the next token needs, as far as the budget allows. Returns whether a token can be drawn now.
   * It cannot be drawn while the matching has to continue, or if nothing may follow.
   */
  prepare(): boolean;
  /** Whether nothing may follow, because the grammar is at its end. */
  readonly isComplete: boolean;
  /**
   * The tokens that the next calls of `sample` return for any row, because the grammar allows no other text. Leaves out tokens
   * that would end the text, and is empty if tokens are scored.
   */
  readonly upcoming: readonly number[];
  /**
   * Returns the next token, and counts it as generated, if it and its successors are certain and end the text. Undefined if the
   * text could continue in other ways, or if tokens are scored.
   */
  takeEnding(): number | undefined;
}

/** The prompt tokens that count for penalties, and the tokens that end the sequence. */
interface SamplerContext {
  promptIds: readonly number[];
  /** The tokens that end the sequence. Default: none. */
  stopTokenIds?: readonly number[];
}

/** Creates the sampler of a sequence. */
export function createSampler(params: SamplingParams, context: SamplerContext): Sampler {
  const penalties = new Penalties(params, context.promptIds);
  const constraints = new Constraints(params, context.stopTokenIds);
  const random = createRandom(params.seed);
  const isScored = params.topLogprobs !== undefined;
  const record = (id: number) => {
    penalties.record(id);
    constraints.record(id);
  };
  const choose = (row: LogitsRow) => {
    penalties.forbid(constraints.forbidden());
    return chooseToken({ row: maskedBy(constraints, row), params, penalties }, random);
  };
  return {
    sample(row) {
      constraints.prepare(); // for callers that do not call `prepare`
      const id = constraints.forced.ids[0] ?? choose(row);
      if (id === undefined) return undefined;
      record(id);
      if (params.topLogprobs === undefined) return { id };
      return { id, logprob: scoreToken(row, id, params.topLogprobs) };
    },
    follow(matcher) {
      constraints.follow(matcher);
    },
    ban(words) {
      constraints.ban(words);
    },
    setBudget(budget) {
      constraints.setBudget(budget);
    },
    prepare: () => constraints.prepare(),
    get isComplete() {
      return constraints.isComplete;
    },
    get upcoming() {
      const { ids, isEnd } = constraints.forced;
      return isScored || isEnd ? [] : ids;
    },
    takeEnding() {
      const {
        ids: [id],
        isEnd,
      } = constraints.forced;
      if (isScored || !isEnd || id === undefined) return undefined;
      record(id);
      return id;
    },
  };
}

/** Returns the probabilities [V] of the token after `generatedIds`. All are 0 if the constraints allow no token. */
export function distribution(
  row: LogitsRow,
  params: SamplingParams,
  context: { promptIds: readonly number[]; generatedIds: readonly number[] },
): Float64Array {
  const penalties = new Penalties(params, context.promptIds);
  const constraints = new Constraints(params);
  for (const id of context.generatedIds) {
    penalties.record(id);
    constraints.record(id);
  }
  penalties.forbid(constraints.forbidden());
  return probabilities({ row: maskedBy(constraints, row), params, penalties });
}

function maskedBy(constraints: Constraints, row: LogitsRow): LogitsRow {
  const allowed = constraints.allowed();
  return allowed ? maskRow(row, allowed) : row;
}

/** How many rounds sfc32 needs until its state no longer shows the seed, according to its author. */
const WARM_UP_ROUNDS = 12;

/**
 * Creates a stream of numbers. The same seed, a safe integer ≥ 0, always gives the same numbers. Without a seed it is random.
 */
function createRandom(seed: number = randomBytes(6).readUIntBE(0, 6)): Random {
  const next = sfc32(seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0);
  return () => {
    const high = next() >>> 5; // 27 bits
    const low = next() >>> 6; // 26 bits
    return (high * 2 ** 26 + low) / 2 ** 53;
  };
}

/** Chris Doty-Humphrey's small fast counter generator (PractRand), 32-bit words. */
function sfc32(low: number, high: number): () => number {
  const mix = splitmix32(low);
  let a = mix();
  let b = mix() ^ high;
  let c = mix();
  let counter = 1;
  const next = () => {
    const out = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + out) | 0;
    return out >>> 0;
  };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) next();
  return next;
}

function splitmix32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let word = state ^ (state >>> 16);
    word = Math.imul(word, 0x21f0aaad);
    word ^= word >>> 15;
    word = Math.imul(word, 0x735a2d97);
    return word ^ (word >>> 15);
  };
}

/** Working memory, as long as the longest row. All sequences share it, because drawing is synchronous. */
let memory = new Float32Array(0);
/** A view of the working memory, [V]. */
let masked = memory;

/**
 * Returns the row with -Infinity for all tokens but the allowed ones (bit `id % 32` of word `id >> 5`). Valid until the next
 * call. Its largest logits are the row's largest ones that are allowed, if there are any.
 */
function maskRow(row: LogitsRow, allowed: Uint32Array): LogitsRow {
  const { logits } = row;
  if (memory.length < logits.length) memory = new Float32Array(logits.length);
  if (masked.length !== logits.length || masked.buffer !== memory.buffer)
    masked = memory.subarray(0, logits.length);
  masked.fill(Number.NEGATIVE_INFINITY);
  const few: number[] = [];
  let count = 0;
  for (let word = 0; word < allowed.length; word++) {
    const bits = allowed[word]!;
    if (bits === 0) continue;
    const start = word * 32;
    if (count >= TOP_LOGITS_COUNT) {
      // Inside a string, most tokens of most words are allowed, so the others are removed from a copy.
      masked.set(logits.subarray(start, start + 32), start);
      const last = Math.min(32, logits.length - start);
      for (let left = ~bits; left !== 0; left &= left - 1) {
        const bit = 31 - Math.clz32(left & -left);
        if (bit < last) masked[start + bit] = Number.NEGATIVE_INFINITY;
      }
      count++;
      continue;
    }
    for (let left = bits; left !== 0; left &= left - 1) {
      const id = start + 31 - Math.clz32(left & -left);
      if (id >= logits.length) break;
      masked[id] = logits[id]!;
      if (count++ < TOP_LOGITS_COUNT) few.push(id);
    }
  }
  if (count <= TOP_LOGITS_COUNT) return { logits: masked, top: wholeTop(few) };
  return withTop(row, allowed);
}

/** The top of a row whose other tokens are all forbidden. */
function wholeTop(ids: readonly number[]): TopLogits {
  const order = [...ids].sort((a, b) => masked[b]! - masked[a]! || a - b);
  const values = Float32Array.from(order, (id) => masked[id]!);
  return { values, ids: order, logSumExp: Number.NaN, floor: Number.NEGATIVE_INFINITY };
}

function withTop({ top }: LogitsRow, allowed: Uint32Array): LogitsRow {
  if (!top) return { logits: masked };
  const ids = Array.from(top.ids, Number).filter((id) => (allowed[id >> 5]! >>> (id & 31)) & 1);
  if (ids.length === 0) return { logits: masked };
  const values = Float32Array.from(ids, (id) => masked[id]!);
  const floor = top.values.at(-1)!;
  return { logits: masked, top: { values, ids, logSumExp: top.logSumExp, floor } };
}
