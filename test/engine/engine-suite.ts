// The tests of an engine on any provider. The plain decoder is the reference.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { fromFloat32 } from '../../src/common/tensor.ts';
import { GREEDY } from '../../src/contracts/generation.ts';
import type { DecodeRow, RowResult, SlotId } from '../../src/engine/batch.ts';
import { Engine } from '../../src/engine/engine.ts';
import type { LogitsRow } from '../../src/engine/logits.ts';
import { createSampler } from '../../src/engine/sampling/sampler.ts';
import { TARGETS_OF } from '../../src/model/target-modules.ts';
import type { Provider } from '../../src/settings/provider.ts';
import {
  ownVocabulary,
  seededRandom,
  servingFolder,
  type TinyModel,
  tinyAdapter,
  tinyModel,
  wideAdapter,
  writeKvScales,
} from '../fixtures.ts';
import { plainLogits } from '../model/plain-decoder.ts';

/** The provider that the engines run on. */
export interface Platform {
  readonly provider: Provider;
  /**
   * The largest difference from the plain decoder's logits; twice as large after adapters were attached and detached.
   */
  readonly limit: number;
  /** Serves with an int8 cache whose scales cover values up to this. Default: a float cache. */
  readonly cachedUpTo?: number;
  readonly skip?: string | false;
  /** Called before each engine. */
  prepare?(t: TestContext): void;
}

interface Tools {
  engineOf(t: TestContext, model: TinyModel): Promise<Engine>;
  readonly limit: number;
}

type Case = (t: TestContext, tools: Tools) => Promise<void>;

/** Declares the tests, with float32 weights. */
export function engineSuite(
  name: string,
  { provider, limit, cachedUpTo, skip = false, prepare }: Platform,
): void {
  const engineOf = async (t: TestContext, model: TinyModel) => {
    prepare?.(t);
    const servingDir = await servingFolder(t, model, 'f32');
    if (cachedUpTo) writeKvScales(servingDir, model.config, cachedUpTo);
    const kv = cachedUpTo ? 'int8' : 'f32';
    const size = { slotCount: 6, maxSeqLength: 32 };
    const engine = await Engine.create({ servingDir, ...size, kv, runtime: { provider } });
    t.after(() => engine.release());
    return engine;
  };
  for (const [title, run] of Object.entries(CASES)) {
    test(`${name}: ${title}`, { skip }, (t) => run(t, { engineOf, limit }));
  }
}

/** A sampler that records the logits it gets. */
function recorder() {
  const seen: Float32Array[] = [];
  const sample = (row: LogitsRow) => {
    seen.push(row.logits.slice());
    return { id: 0 };
  };
  return { seen, sample };
}

interface Sequence {
  prompt: readonly number[];
  adapter: AdapterWeights | undefined;
}

/**
 * Prefills each sequence into its slot, then decodes `next` for all of them in one batch. Returns the logits by row.
 */
async function decodeTogether(engine: Engine, sequences: readonly Sequence[], next: number) {
  const recorders = sequences.map(recorder);
  for (const [slot, { prompt, adapter }] of sequences.entries()) {
    await engine.run({
      kind: 'prefill',
      slot: slot as SlotId,
      adapter: adapter?.digest,
      tokenIds: prompt,
      pastLength: 0,
      sampler: undefined,
      scoring: undefined,
    });
  }
  const rows = sequences.map(
    ({ prompt, adapter }, i): DecodeRow => ({
      adapter: adapter?.digest,
      tokenId: next,
      pastLength: prompt.length,
      sampler: recorders[i]!,
    }),
  );
  const result = await engine.run({ kind: 'decode', rows });
  return { logits: recorders.map(({ seen }) => seen[0]), result };
}

/** Drafts from the next right tokens of a row. */
type Guess = (right: readonly number[], row: number) => readonly number[];

/** Generates 12 tokens after each prompt, and counts the runs. `right` are the tokens that `guess` gets to see. */
async function greedyTokens(
  engine: Engine,
  sequences: readonly Sequence[],
  guess: Guess,
  right: readonly (readonly number[])[] = [],
) {
  const samplers = sequences.map(({ prompt }) => {
    return createSampler(GREEDY, { promptIds: prompt });
  });
  const tokens: number[][] = sequences.map(() => []);
  for (const [slot, { prompt, adapter }] of sequences.entries()) {
    const chunk = { tokenIds: prompt, pastLength: 0, adapter: adapter?.digest, scoring: undefined };
    const sampler = samplers[slot];
    const { rows } = await engine.run({ kind: 'prefill', slot: slot as SlotId, sampler, ...chunk });
    tokens[slot]!.push(...drawnIds(rows[0]!));
  }
  let runs = 0;
  while (tokens.some(({ length }) => length < 12)) {
    const rows = sequences.map(
      ({ prompt, adapter }, row): DecodeRow => ({
        adapter: adapter?.digest,
        tokenId: tokens[row]!.at(-1)!,
        pastLength: prompt.length + tokens[row]!.length - 1,
        sampler: samplers[row]!,
        draftIds: guess((right[row] ?? []).slice(tokens[row]!.length), row).slice(0, 4),
      }),
    );
    runs++;
    const results = (await engine.run({ kind: 'decode', rows })).rows;
    for (const [row, drawn] of results.entries()) tokens[row]!.push(...drawnIds(drawn));
  }
  return { tokens: tokens.map((all) => all.slice(0, 12)), runs };
}

function drawnIds(results: readonly RowResult[]): number[] {
  return results.map((result) => {
    assert.ok(result.ok);
    return result.id;
  });
}

const isolates =
  (value: number): Case =>
  async (t, { engineOf }) => {
    const model = tinyModel();
    const engine = await engineOf(t, model);
    const good = tinyAdapter(model.config, { seed: 1, rank: 8, targets: TARGETS_OF.separate });
    const harmless = tinyAdapter(model.config, { seed: 2, rank: 8, targets: TARGETS_OF.separate });
    const bad = tinyAdapter(model.config, { seed: 3, rank: 8, targets: TARGETS_OF.separate });
    for (const layer of bad.layers) for (const pair of Object.values(layer)) pair.a.fill(value);
    await assertIsolated(engine, { good, harmless, bad });
    for (const adapter of engine.attachedAdapters()) engine.detachAdapter(adapter);
    const badVectors = wideAdapter(model, 3);
    for (const vector of badVectors.vectors.values()) vector.fill(value);
    await assertIsolated(engine, {
      good: wideAdapter(model, 1),
      harmless: wideAdapter(model, 2),
      bad: badVectors,
    });
  };

async function assertIsolated(
  engine: Engine,
  { good, harmless, bad }: Record<'good' | 'harmless' | 'bad', AdapterWeights>,
): Promise<void> {
  for (const adapter of [good, harmless]) engine.attachAdapter(adapter);
  const others = [
    { prompt: [3, 4], adapter: good },
    { prompt: [5, 6], adapter: undefined },
  ];
  const control = await decodeTogether(
    engine,
    [...others, { prompt: [7, 8], adapter: harmless }],
    9,
  );
  engine.detachAdapter(harmless.digest);
  engine.attachAdapter(bad);
  const poisoned = await decodeTogether(engine, [...others, { prompt: [7, 8], adapter: bad }], 9);
  assert.deepEqual(poisoned.logits.slice(0, 2), control.logits.slice(0, 2));
  assert.deepEqual(poisoned.result.rows[2], [{ ok: false, reason: 'non_finite' }]);
  engine.detachAdapter(bad.digest);
  const after = await decodeTogether(engine, [...others, { prompt: [7, 8], adapter: good }], 9);
  assert.equal(after.result.rows[2]![0]!.ok, true, 'the slot is clean for its next owner');
}

const CASES: Record<string, Case> = {
  'T01, F37, I02: an adapter of NaN ends its own row and leaves the others bit-equal': isolates(
    Number.NaN,
  ),
  'T01, I02: an adapter of infinities ends its own row and leaves the others bit-equal': isolates(
    Number.POSITIVE_INFINITY,
  ),
  'T01, I02: an adapter of 1e38 ends its own row and leaves the others bit-equal': isolates(1e38),
  'each row of a mixed batch has the logits that the plain decoder computes for it alone': async (
    t,
    { engineOf, limit },
  ) => {
    const model = tinyModel();
    const engine = await engineOf(t, model);
    const adapters = [
      tinyAdapter(model.config, { seed: 1, rank: 8, targets: TARGETS_OF.separate }),
      tinyAdapter(model.config, { seed: 2, rank: 3, targets: ['q_proj', 'v_proj'] }),
      tinyAdapter(model.config, { seed: 3, rank: 17, targets: ['down_proj'], layers: [1] }),
      wideAdapter(model, 4),
      wideAdapter(model, 5),
    ];
    for (const adapter of adapters) engine.attachAdapter(adapter);
    const use = [0, undefined, 1, 3, 2, 4];
    const sequences = use.map((index, i) => ({
      prompt: [4 + i, 30, 9 + 2 * i].slice(0, 1 + (i % 3)),
      adapter: index === undefined ? undefined : adapters[index],
    }));
    const { logits } = await decodeTogether(engine, sequences, 11);
    sequences.forEach(({ prompt, adapter }, row) => {
      const want = plainLogits(model.config, model.weights, [...prompt, 11], adapter).at(-1)!;
      const worst = Math.max(...want.map((v, i) => Math.abs(v - logits[row]![i]!)));
      assert.ok(worst < limit, `row ${row} is off by ${worst}`);
    });
  },

  'adapters with longer and shorter vocabularies share a batch with the base': async (t, tools) => {
    const model = tinyModel();
    const { vocabSize } = model.config;
    const engine = await tools.engineOf(t, model);
    const sizes = [vocabSize + 3, vocabSize + 3, vocabSize - 7, vocabSize + 40];
    const adapters = sizes.map((size, i) => ownVocabulary(model, size, i + 1));
    for (const adapter of adapters) engine.attachAdapter(adapter);
    const use = [0, undefined, 1, 2, 3, 0];
    const sequences = use.map((index, row) => {
      const last = index === undefined ? 30 : sizes[index]! - 1;
      return { prompt: [4 + row, last, 9], adapter: adapters[index ?? -1] };
    });
    const { logits } = await decodeTogether(engine, sequences, 11);
    sequences.forEach(({ prompt, adapter }, row) => {
      const want = plainLogits(model.config, model.weights, [...prompt, 11], adapter).at(-1)!;
      assert.equal(logits[row]!.length, adapter?.vocabulary.own?.size ?? vocabSize);
      const worst = Math.max(...want.map((v, i) => Math.abs(v - logits[row]![i]!)));
      assert.ok(worst < tools.limit, `row ${row} is off by ${worst}`);
    });
    assert.equal(
      logits[0]!.length,
      logits[2]!.length,
      'two of one length have outputs of their own',
    );
  },

  'logits are bit-equal if only the neighbours differ': async (t, { engineOf }) => {
    const model = tinyModel();
    const engine = await engineOf(t, model);
    const [mine, a, b] = [1, 2, 3].map((seed) =>
      tinyAdapter(model.config, { seed, rank: 8, targets: TARGETS_OF.separate }),
    );
    for (const adapter of [mine!, a!]) engine.attachAdapter(adapter);
    const me = { prompt: [7, 8, 9], adapter: mine };
    const first = await decodeTogether(engine, [{ prompt: [1, 2], adapter: a }, me], 5);
    engine.detachAdapter(a!.digest);
    engine.attachAdapter(b!);
    const second = await decodeTogether(engine, [{ prompt: [60, 61], adapter: b }, me], 5);
    assert.deepEqual(second.logits[1], first.logits[1]);
    assert.notDeepEqual(second.logits[0], first.logits[0]);
  },

  'T02, I04: old values in a freed slot do not affect the next sequence': async (
    t,
    { engineOf },
  ) => {
    const model = tinyModel();
    const engine = await engineOf(t, model);
    const fresh = await decodeTogether(engine, [{ prompt: [3, 4], adapter: undefined }], 9);
    await decodeTogether(engine, [{ prompt: [50, 51, 52, 53, 54, 55], adapter: undefined }], 60);
    const reused = await decodeTogether(engine, [{ prompt: [3, 4], adapter: undefined }], 9);
    assert.deepEqual(reused.logits, fresh.logits);
  },

  'I06: rows keep their adapters while others are attached and detached and slots are replaced':
    async (t, { engineOf, limit }) => {
      const model = tinyModel();
      const engine = await engineOf(t, model);
      const random = seededRandom(5);
      const attached: AdapterWeights[] = [];
      for (let round = 0; round < 12; round++) {
        const seed = 100 + round;
        const rank = 1 + Math.floor(20 * Math.abs(random()));
        const targets = random() > 0 ? TARGETS_OF.separate : (['q_proj', 'v_proj'] as const);
        if (attached.length === 4) {
          const [gone] = attached.splice(Math.floor(4 * Math.abs(random())), 1);
          engine.detachAdapter(gone!.digest);
        }
        attached.push(tinyAdapter(model.config, { seed, rank, targets }));
        engine.attachAdapter(attached.at(-1)!);
        const sequences = attached.map((adapter, i) => ({ prompt: [10 + i, 20], adapter }));
        const { logits } = await decodeTogether(engine, sequences, 33);
        sequences.forEach(({ prompt, adapter }, row) => {
          const want = plainLogits(model.config, model.weights, [...prompt, 33], adapter).at(-1)!;
          const worst = Math.max(...want.map((v, i) => Math.abs(v - logits[row]![i]!)));
          assert.ok(worst < 2 * limit, `round ${round} row ${row} is off by ${worst}`);
        });
      }
    },

  'a sequence continues unchanged after its slot is moved': async (t, { engineOf }) => {
    const model = tinyModel();
    const engine = await engineOf(t, model);
    const me = { prompt: [7, 8, 9], adapter: undefined };
    const { logits } = await decodeTogether(engine, [{ prompt: [1], adapter: undefined }, me], 5);
    engine.moveSlot(1 as SlotId, 0 as SlotId, 3);
    const { seen, sample } = recorder();
    const row = { adapter: undefined, tokenId: 5, pastLength: 3, sampler: { sample } };
    await engine.run({ kind: 'decode', rows: [row, row] });
    assert.deepEqual(seen[0], logits[1]);
  },

  'drafts give the tokens of decoding one by one, and rejected ones leave nothing behind': async (
    t,
    { engineOf },
  ) => {
    const model = tinyModel();
    const engine = await engineOf(t, model);
    const adapter = tinyAdapter(model.config, { seed: 1, rank: 8, targets: TARGETS_OF.separate });
    engine.attachAdapter(adapter);
    const sequences = [
      { prompt: [7, 8, 9], adapter: undefined },
      { prompt: [3, 4], adapter },
    ];
    const plain = await greedyTokens(engine, sequences, () => []);
    const guesses: Guess[] = [
      (right) => right,
      (right) => [...right.slice(0, 2), ((right[2] ?? 0) + 1) % 96, 5],
      (right) => right.map((id) => (id + 1) % 96),
      (right, row) => (row === 0 ? right : []),
    ];
    for (const guess of guesses) {
      const { tokens, runs } = await greedyTokens(engine, sequences, guess, plain.tokens);
      assert.deepEqual(tokens, plain.tokens);
      assert.ok(runs <= plain.runs);
    }
    const { runs } = await greedyTokens(engine, sequences, (right) => right, plain.tokens);
    assert.ok(runs < plain.runs / 2, `${runs} runs instead of ${plain.runs}`);
  },

  'a draft with values that are not finite is rejected, and its row goes on': async (
    t,
    { engineOf },
  ) => {
    const finite = tinyModel({ tie_word_embeddings: false });
    const sequences = [
      { prompt: [7, 8, 9], adapter: undefined },
      { prompt: [3, 4], adapter: undefined },
    ];
    const plain = await greedyTokens(await engineOf(t, finite), sequences, () => []);
    const used = new Set([...plain.tokens.flat(), ...sequences.flatMap(({ prompt }) => prompt)]);
    const poison = Array.from({ length: 96 }, (_, id) => id).find((id) => !used.has(id))!;
    const weights = finite.artifact.tensors;
    const embeddings = weights.read('model.embed_tokens.weight');
    const data = finite.weights('model.embed_tokens.weight').slice();
    const { hiddenSize } = finite.config;
    data.fill(Number.NaN, poison * hiddenSize, (poison + 1) * hiddenSize);
    const poisoned = fromFloat32(data, embeddings.shape, 'F32');
    const read = (name: string) => (name.includes('embed_tokens') ? poisoned : weights.read(name));
    const tensors = { ...weights, read };
    const engine = await engineOf(t, { ...finite, artifact: { ...finite.artifact, tensors } });
    const guess: Guess = (right) => [...right.slice(0, 1), poison, poison];
    const drafted = await greedyTokens(engine, sequences, guess, plain.tokens);
    assert.deepEqual(drafted.tokens, plain.tokens);
  },

  'a scored prompt has the log-probability of each next token': async (t, { engineOf, limit }) => {
    const model = tinyModel();
    const engine = await engineOf(t, model);
    const prompt = [3, 9, 27, 81];
    const { promptLogprobs } = await engine.run({
      kind: 'prefill',
      slot: 0 as SlotId,
      adapter: undefined,
      tokenIds: prompt,
      pastLength: 0,
      sampler: undefined,
      scoring: {
        nextIds: [9, 27, 81, undefined],
        topLogprobs: 2,
        targetIds: [[], [5, 9], [40]],
      },
    });
    const rows = plainLogits(model.config, model.weights, prompt);
    assert.equal(promptLogprobs.length, 3);
    const asked = promptLogprobs.map(({ targets }) => targets!.map((one) => one.id));
    assert.deepEqual(asked, [[], [5, 9], [40]]);
    promptLogprobs.forEach(({ id, logprob, top, targets = [] }, i) => {
      const row = rows[i]!;
      const logSum = Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0));
      assert.equal(id, prompt[i + 1]);
      assert.ok(Math.abs(logprob - (row[id]! - logSum)) < limit);
      for (const target of targets) {
        assert.ok(Math.abs(target.logprob - (row[target.id]! - logSum)) < limit);
        const above = (margin: number) => row.filter((v) => v > row[target.id]! + margin).length;
        assert.ok(target.rank > above(2 * limit) && target.rank <= above(-2 * limit));
      }
      assert.equal(top.length, 2);
      assert.ok(Math.abs(top[0]!.logprob - (Math.max(...row) - logSum)) < limit);
    });
  },
};
