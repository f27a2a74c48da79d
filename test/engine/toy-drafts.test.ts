// Drafts on the committed base in f32: the real engine, scheduler and proposer.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type GenerationRequest, GREEDY } from '../../src/contracts/generation.ts';
import { Engine } from '../../src/engine/engine.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { NgramProposer } from '../../src/scheduler/drafter.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder } from '../fixtures.ts';
import { generate, tokensOf } from '../scheduler/generate.ts';

const TOY = 'models/toy';
const TEXT =
  'Alice was beginning to get very tired of sitting by her sister on the bank. Alice was beginning to';

async function toyEngine(t: TestContext): Promise<Engine> {
  const artifact = readArtifact(TOY);
  const cacheDir = temporaryFolder(t);
  const servingDir = await ensureServingFiles(artifact, { weights: 'f32', cacheDir });
  artifact.tensors.close();
  const engine = await Engine.create({ servingDir, slotCount: 2, maxSeqLength: 256 });
  t.after(() => engine.release());
  return engine;
}

test('drafts change no token of the toy base, alone and in pairs', async (t) => {
  const engine = await toyEngine(t);
  const tokenizer = await loadTokenizer(TOY);
  const promptIds = tokenizer!.encode(TEXT, { specials: false });
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
    const plain = await generate(
      engine,
      pair.map((request) => ({ request })),
    );
    const drafted = await generate(
      engine,
      pair.map((request) => ({ request, proposer: new NgramProposer(promptIds) })),
    );
    assert.deepEqual(drafted.events.map(tokensOf), plain.events.map(tokensOf));
    assert.equal(plain.stats.drafts, 0);
    accepted += drafted.stats.acceptedDraftTokens;
    if (drafted.stats.drafts > 0) assert.ok(drafted.stats.steps < plain.stats.steps);
  }
  assert.ok(accepted > 20, `only ${accepted} draft tokens were accepted`);
});
