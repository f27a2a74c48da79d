// Drafts change no token of a sampled sequence: each is drawn as it would be drawn alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import type {
  Batch,
  BatchResult,
  DecodeRow,
  RowResult,
  TokenSource,
} from '../../src/engine/batch.ts';
import { createSampler } from '../../src/engine/sampling/sampler.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { NgramProposer, type Proposer } from '../../src/scheduler/drafter.ts';
import { vocabularyOf } from '../grammar/written.ts';
import { generate, tokensOf } from './generate.ts';
import { ScriptedProposer, spoil } from './proposers.ts';

const VOCAB_SIZE = 12;

/** A model whose logits depend on the last two tokens, so that its text repeats. It draws with the real samplers. */
class RepetitiveModel {
  readonly info = {
    vocabSize: VOCAB_SIZE,
    maxSeqLength: 128,
    slotCount: 2,
    provider: 'none',
    weights: 'none',
    kv: 'none',
    int8Operator: null,
    fingerprint: 'ffffffff',
  };
  readonly #slots: number[][] = [[], []];

  async run(batch: Batch): Promise<BatchResult> {
    if (batch.kind === 'decode') {
      const rows = batch.rows.map((row, slot) => this.#decode(slot, row));
      return { rows, promptLogprobs: [] };
    }
    const { slot, pastLength, tokenIds, sampler } = batch;
    const tokens = [...this.#slots[slot]!.slice(0, pastLength), ...tokenIds];
    this.#slots[slot] = tokens;
    return { rows: sampler ? [[draw(sampler, tokens)]] : [], promptLogprobs: [] };
  }

  moveSlot(from: number, to: number, length: number): void {
    this.#slots[to] = this.#slots[from]!.slice(0, length);
  }

  #decode(slot: number, { tokenId, pastLength, draftIds = [], sampler }: DecodeRow): RowResult[] {
    const tokens = [...this.#slots[slot]!.slice(0, pastLength), tokenId, ...draftIds];
    this.#slots[slot] = tokens;
    const results: RowResult[] = [];
    for (let length = pastLength + 1; length <= tokens.length; length++) {
      const result = draw(sampler, tokens.slice(0, length));
      results.push(result);
      if (!result.ok || result.id !== tokens[length]) break;
    }
    return results;
  }
}

function logitsAfter(tokens: readonly number[]): Float32Array {
  const [one = 0, two = 0] = tokens.slice(-2);
  return Float32Array.from({ length: VOCAB_SIZE }, (_, id) => {
    return (((one * 31 + two * 17 + id * 7) * 2_654_435_761) % 1009) / 150;
  });
}

function draw(sampler: TokenSource, tokens: readonly number[]): RowResult {
  const token = sampler.sample({ logits: logitsAfter(tokens) });
  return token ? { ok: true, ...token } : { ok: false, reason: 'nothing_allowed' };
}

/** The plain twin: draws token after token until the sequence ends. */
function plainTokens(request: GenerationRequest) {
  const { promptIds, maxTokens, stopTokenIds, sampling } = request;
  const sampler = createSampler(sampling, { promptIds });
  const ban = banOf(request);
  if (ban) sampler.ban(ban);
  const drawn: Extract<RowResult, { ok: true }>[] = [];
  while (drawn.length < maxTokens) {
    const result = draw(sampler, [...promptIds, ...drawn.map(({ id }) => id)]);
    if (!result.ok || stopTokenIds.includes(result.id)) break;
    drawn.push(result);
  }
  return drawn;
}

const ids = (min: number, max: number) =>
  fc.array(fc.integer({ min: 0, max: VOCAB_SIZE - 1 }), { minLength: min, maxLength: max });

const requests = fc.record({
  promptIds: ids(1, 12),
  maxTokens: fc.integer({ min: 1, max: 40 }),
  stopTokenIds: ids(0, 1),
  sampling: fc.record(
    {
      temperature: fc.constantFrom(0, 0.3, 1),
      topK: fc.constantFrom(0, 3),
      topP: fc.constantFrom(0.5, 1),
      minP: fc.constantFrom(0, 0.1),
      repetitionPenalty: fc.constantFrom(1, 1.3),
      presencePenalty: fc.constantFrom(0, 0.5),
      frequencyPenalty: fc.constantFrom(0, 0.5),
      logitBias: fc.constantFrom(new Map(), new Map([[3, 2]])),
      seed: fc.nat(),
      topLogprobs: fc.constantFrom(0, 2),
      allowedTokenIds: fc.constantFrom([1, 2, 3, 4, 5, 6]),
      minTokens: fc.constantFrom({ count: 4, endings: [0, 1] }),
    },
    { requiredKeys: [...(Object.keys(GREEDY) as (keyof typeof GREEDY)[]), 'seed'] as never },
  ),
  badWords: fc.constantFrom(undefined, ['c'], ['bc', 'de', 'ab cd']),
});

const letters = vocabularyOf([...' abcdefg', 'bc', ' c', ' d'], { withBytes: false });
const grammars = new Grammars(letters, VOCAB_SIZE);
const banOf = ({ badWords }: GenerationRequest) => badWords && grammars.createBan(badWords);

const proposers = fc.constantFrom('ngram', 'right', 'spoiled', 'wrong');

function proposerOf(kind: string, request: GenerationRequest): Proposer {
  if (kind === 'ngram') return new NgramProposer(request.promptIds);
  const tokens = plainTokens(request).map(({ id }) => id);
  const nth = { right: Number.POSITIVE_INFINITY, spoiled: 3, wrong: 1 }[kind]!;
  return new ScriptedProposer(spoil([...tokens, 0, 1, 2], nth, VOCAB_SIZE));
}

test('tokens and log-probabilities are those of drawing one by one', async () => {
  let accepted = 0;
  const pairs = fc.tuple(requests, proposers);
  const property = fc.asyncProperty(pairs, pairs, async (one, other) => {
    const all = [one, other].map(([request, kind]) => {
      const typed = request as GenerationRequest;
      return { request: typed, proposer: proposerOf(kind, typed), ban: banOf(typed) };
    });
    // Their words are loaded already.
    const loaded = all.map(({ request: { badWords: _, ...request }, ...of }) => {
      return { ...of, request };
    });
    const { events, stats } = await generate(new RepetitiveModel(), loaded);
    accepted += stats.acceptedDraftTokens;
    all.forEach(({ request }, i) => {
      const want = plainTokens(request);
      assert.deepEqual(
        tokensOf(events[i]!),
        want.map(({ id }) => id),
      );
      const logprobs = events[i]!.flatMap((e) => (e.type === 'token' ? [e.logprob] : []));
      assert.deepEqual(
        logprobs,
        want.map(({ logprob }) => logprob),
      );
    });
    const generated = events.flatMap(tokensOf).length;
    assert.ok(stats.generatedTokens - generated <= all.length, 'only stop tokens are not shown');
  });
  await fc.assert(property, { seed: 20260801, numRuns: 400 });
  assert.ok(accepted > 1000, `only ${accepted} draft tokens were accepted`);
});
