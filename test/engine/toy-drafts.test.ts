// Drafts on the committed base in f32: the real engine, scheduler and proposer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import { NgramProposer } from '../../src/scheduler/drafter.ts';
import { generate, tokensOf } from '../scheduler/generate.ts';
import { openToy } from './toy.ts';

const TEXT =
  'Alice was beginning to get very tired of sitting by her sister on the bank. Alice was beginning to';

test('drafts change no token of the toy base, alone and in pairs', async (t) => {
  const { engine, tokenizer } = await openToy(t, 2);
  const promptIds = tokenizer.encode(TEXT, { specials: false });
  const samplings = [
    GREEDY,
    { ...GREEDY, repetitionPenalty: 1.1, topLogprobs: 3 },
    { ...GREEDY, temperature: 0.7, topP: 0.9, seed: 5 },
  ];
  const requests = samplings.map(
    (sampling): GenerationRequest => ({ promptIds, maxTokens: 80, stopTokenIds: [], sampling }),
  );
  const pairs = [...requests.map((request) => [request]), [requests[0]!, requests[0]!]];
  let accepted = 0;
  for (const pair of pairs) {
    const alone = pair.map((request) => ({ request }));
    const plain = await generate(engine, alone);
    const proposed = alone.map((one) => ({ ...one, proposer: new NgramProposer(promptIds) }));
    const drafted = await generate(engine, proposed);
    assert.deepEqual(drafted.events.map(tokensOf), plain.events.map(tokensOf));
    assert.equal(plain.stats.drafts, 0);
    accepted += drafted.stats.acceptedDraftTokens;
    if (drafted.stats.drafts > 0) assert.ok(drafted.stats.steps < plain.stats.steps);
  }
  assert.ok(accepted > 20, `only ${accepted} draft tokens were accepted`);
});
