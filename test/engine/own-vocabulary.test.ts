// Adapters with vocabularies of their own in the whole step loop: the prefix cache and drafts change none of their tokens. The
// plain decoder computes every answer from the start.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { createLog } from '../../src/common/log.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import { type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import { Engine } from '../../src/engine/engine.ts';
import { NgramProposer, type Proposer } from '../../src/scheduler/drafter.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { plainSource } from '../adapters/sources.ts';
import { ownVocabulary, servingFolder, tinyModel } from '../fixtures.ts';
import { plainLogits } from '../model/plain-decoder.ts';
import { pluck } from '../pluck.ts';
import { ForcedLeases } from '../scheduler/fake-engine.ts';

const model = tinyModel();
const V = model.config.vocabSize;
/** Two longer vocabularies of one size, and a shorter one. */
const [longer, other, shorter] = [V + 3, V + 3, V - 7].map((size, i) =>
  ownVocabulary(model, size, i + 1),
) as [AdapterWeights, AdapterWeights, AdapterWeights];
const MODELS = [undefined, longer, other, shorter];

/** A block of the prefix cache and a rest, of tokens that all vocabularies have. */
const COMMON = Array.from({ length: 20 }, (_, i) => (7 * i + 3) % (V - 7));
const CACHED = 16;
const NEW = [V, V + 1, V + 2];

interface Answer {
  readonly tokens: number[];
  readonly cached: number;
  readonly end: string;
}

async function serve(t: TestContext, createProposer?: (request: GenerationRequest) => Proposer) {
  const servingDir = await servingFolder(t, model, 'f32');
  const limits = { slotCount: 4, maxSeqLength: 96, prefixCacheBytes: 2 ** 22 };
  const engine = await Engine.create({ servingDir, ...limits });
  const adapters = new ForcedLeases([longer, other, shorter]);
  const loop = new StepLoop({ engine, adapters, createProposer });
  const client = createInProcessClient(loop, createLog('silent'));
  t.after(() => client.drain(0));
  const ask = (
    adapter: AdapterWeights | undefined,
    rest: Partial<GenerationRequest> & { readonly promptIds: readonly number[] },
  ) => {
    const request = { maxTokens: 8, stopTokenIds: [], sampling: GREEDY, prefixScope: 's', ...rest };
    const source = adapter && plainSource(adapter.digest);
    const tokens: number[] = [];
    let cached = 0;
    return new Promise<Answer>((resolve) => {
      client.submit({ id: 't', weight: 1 }, source, request, (event) => {
        if (event.type === 'admitted') cached = event.cachedTokens;
        if (event.type === 'token') tokens.push(event.tokenId);
        if (event.type === 'failed') resolve({ tokens, cached, end: event.error.code });
        if (event.type === 'finished') resolve({ tokens, cached, end: event.reason });
      });
    });
  };
  return { ask, client };
}

/** Whether these tokens are the most likely ones after the prompt. */
function assertGreedy(
  adapter: AdapterWeights | undefined,
  promptIds: readonly number[],
  tokens: readonly number[],
): void {
  const ids = [...promptIds, ...tokens.slice(0, -1)];
  const logits = plainLogits(model.config, model.weights, ids, adapter);
  const want = logits.slice(promptIds.length - 1).map((row) => row.indexOf(Math.max(...row)));
  assert.deepEqual(tokens, want, adapter?.digest);
}

test('I23: an adapter with a vocabulary of its own shares no prefix with the base or another one, and hits its own', async (t) => {
  const { ask } = await serve(t);
  const first = [];
  for (const adapter of MODELS) {
    const { tokens, cached } = await ask(adapter, { promptIds: COMMON });
    assert.equal(cached, 0, adapter?.digest);
    assertGreedy(adapter, COMMON, tokens);
    first.push(tokens);
  }
  for (const [i, adapter] of MODELS.entries()) {
    const { tokens, cached } = await ask(adapter, { promptIds: COMMON });
    assert.deepEqual([tokens, cached], [first[i], CACHED], adapter?.digest);
  }
});

test('new tokens within a cached prefix are those of their adapter, and nobody else may name them', async (t) => {
  const { ask } = await serve(t);
  const promptIds = COMMON.map((id, i) => NEW[i % 7] ?? id);
  const answers = [];
  for (const adapter of [longer, other, longer, other]) {
    answers.push({ adapter, ...(await ask(adapter, { promptIds })) });
  }
  assert.deepEqual(pluck(answers, 'cached'), [0, 0, CACHED, CACHED]);
  assert.deepEqual(
    pluck(answers.slice(2), 'tokens'),
    answers.slice(0, 2).map(({ tokens }) => tokens),
  );
  for (const { adapter, tokens } of answers.slice(0, 2)) assertGreedy(adapter, promptIds, tokens);
  for (const adapter of [undefined, shorter]) {
    const { end, tokens } = await ask(adapter, { promptIds });
    assert.deepEqual([end, tokens], ['invalid_request', []]);
  }
});

/** Notes all drafts, by the request's model. */
class Noted implements Proposer {
  readonly drafts: number[][] = [];
  readonly #proposer: Proposer;

  constructor({ promptIds, predictionIds }: GenerationRequest) {
    this.#proposer = new NgramProposer(promptIds, predictionIds);
  }

  append(tokenId: number): void {
    this.#proposer.append(tokenId);
  }

  propose(maxTokens: number): readonly number[] {
    const draft = this.#proposer.propose(maxTokens);
    this.drafts.push([...draft]);
    return draft;
  }
}

test('drafts have tokens of their own vocabulary only, and change no answer', async (t) => {
  const noted: { readonly size: number; readonly drafts: readonly number[][] }[] = [];
  const drafted = await serve(t, (request) => {
    const proposer = new Noted(request);
    noted.push({ size: Math.max(...request.promptIds) + 1, drafts: proposer.drafts });
    return proposer;
  });
  const plain = await serve(t);
  const samplings = [GREEDY, { ...GREEDY, temperature: 0.8, seed: 7 }];
  // No more than two rows of a run have drafts.
  const pairs = [
    [longer, undefined],
    [shorter, other],
  ] as const;
  for (const sampling of samplings) {
    for (const pair of pairs) {
      const answers = ({ ask }: typeof plain) =>
        Promise.all(
          pair.map((adapter) => {
            // The last tokens of each vocabulary alternate in the prompt, and are likely in the answer.
            const size = adapter?.vocabulary.own?.size ?? V;
            const last = [size - 1, size - 2, size - 3];
            const logitBias = new Map(last.map((id) => [id, 30]));
            return ask(adapter, {
              promptIds: COMMON.map((_, i) => last[i % 3]!),
              maxTokens: 40,
              sampling: { ...sampling, logitBias },
            });
          }),
        );
      assert.deepEqual(await answers(drafted), await answers(plain));
    }
  }
  assert.equal(noted.length, 2 * samplings.length * pairs.length);
  for (const { size, drafts } of noted) {
    const ids = drafts.flat();
    const last = ids.filter((id) => id >= size - 3);
    assert.ok(last.length > 0, `no draft with the last tokens of ${size}`);
    assert.ok(ids.every((id) => id < size));
  }
  const { acceptedDraftTokens } = await drafted.client.stats();
  assert.ok(acceptedDraftTokens > 20, `only ${acceptedDraftTokens} draft tokens were accepted`);
});

test('a prediction with a token that its model lacks is refused', async (t) => {
  const { ask } = await serve(t, (request) => new NgramProposer(request.promptIds));
  for (const [adapter, id] of [
    [undefined, V],
    [shorter, V - 7],
    [longer, V + 3],
  ] as const) {
    const own = await ask(adapter, { promptIds: [1, 2, 3], predictionIds: [1, 2, id - 1] });
    assert.equal(own.end, 'length');
    const { end } = await ask(adapter, { promptIds: [1, 2, 3], predictionIds: [1, 2, id] });
    assert.equal(end, 'invalid_request');
  }
});
