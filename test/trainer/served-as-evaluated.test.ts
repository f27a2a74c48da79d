// Train = serve: what the published adapter answers greedily is what the trainer's own evaluation of it says, token by
// token.

import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { digestAdapterFiles } from '../../adapters/peft/files.ts';
import { createLog } from '../../src/common/log.ts';
import { createEngineHost } from '../../src/compose/engine.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import type { EngineClient } from '../../src/engine-client/client.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import type { Example } from '../../trainer/data/example.ts';
import { describeExamples } from '../../trainer/data/load-dataset.ts';
import { planAdapter } from '../../trainer/job/adapter-plan.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { prepareRows } from '../../trainer/job/prepare-run.ts';
import { executeRun } from '../../trainer/run/execute-run.ts';
import { createFolderPublisher } from '../../trainer/run/publish-result.ts';
import { createRunFolder } from '../../trainer/run/run-folder.ts';
import { plainSource } from '../adapters/sources.ts';
import {
  seededRandom,
  servingFolder,
  type TinyModel,
  temporaryFolder,
  tinyModel,
} from '../fixtures.ts';
import { request } from '../scheduler/fake-engine.ts';
import { NO_FILES } from './runs.ts';
import { argmaxOver, type Continuation, evaluateHits } from './teacher-forced.ts';
import { trainModel } from './tiny-training.ts';

/** Ids that follow each other in a fixed order. */
function rows(count: number): Example[] {
  const random = seededRandom(2);
  return Array.from({ length: count }, () => {
    const start = Math.floor(40 * (random() + 1));
    const ids = new Int32Array(10).map((_, t) => 3 + ((start + 7 * t) % 90));
    return { ids, labels: ids, weights: undefined };
  });
}

/** A whole run, up to the folder where the server looks. */
async function publish(t: TestContext, { artifact }: TinyModel): Promise<string> {
  const dir = temporaryFolder(t);
  const settings = { rank: 4, maxSteps: 12, batchSize: 4, learningRate: 0.03, warmupSteps: 0 };
  const job = parseJob({ model: 'm', data: 'd', name: 'letters', threads: 1, ...settings });
  const parts = {
    method: 'lora',
    maxLength: 32,
    adapter: await planAdapter(job, artifact),
    rows: { train: describeExamples(rows(24), 0), validation: undefined, files: NO_FILES },
  } as const;
  const folder = await createRunFolder(path.join(dir, 'run'), job);
  const adaptersDir = path.join(dir, 'adapters');
  const outcome = await executeRun(prepareRows(job, artifact, parts), {
    ...{ artifact, folder, signal: new AbortController().signal },
    publisher: createFolderPublisher(adaptersDir),
    ...{ gate: {}, send() {} },
  });
  await folder.close();
  assert.equal(outcome, 'succeeded');
  return path.join(adaptersDir, 'letters');
}

async function startEngine(t: TestContext, model: TinyModel): Promise<EngineClient> {
  const servingDir = await servingFolder(t, model, 'f32');
  const engine = { servingDir, slotCount: 4, maxSeqLength: 64 };
  const host = await createEngineHost({ engine, adapterCacheBytes: 1e6, limits: {} }, () => {});
  const client = createInProcessClient(new StepLoop(host), createLog('silent'));
  t.after(() => client.drain(1000));
  return client;
}

function answer(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  promptIds: readonly number[],
): Promise<Continuation> {
  const tokenIds: number[] = [];
  return new Promise((resolve, reject) => {
    client.submit(LOCAL_TENANT, adapter, request(promptIds, { maxTokens: 24 }), (event) => {
      if (event.type === 'token') tokenIds.push(event.tokenId);
      else if (event.type === 'finished') resolve({ promptIds, tokenIds });
      else if (event.type === 'failed') reject(new Error(event.error.message));
    });
  });
}

test('greedy answers of the published adapter are the largest logits of the trainer', async (t) => {
  const tiny = tinyModel();
  const directory = await publish(t, tiny);
  const adapter = plainSource((await digestAdapterFiles(directory)).digest, directory);
  const client = await startEngine(t, tiny);
  const prompts = rows(6).map(({ ids }) => [...ids.subarray(0, 5)]);
  const answers = await Promise.all(prompts.map((ids) => answer(client, adapter, ids)));
  const job = parseJob({ model: 'm', data: 'd', initAdapter: directory });
  const { lora } = await planAdapter(job, tiny.artifact);
  const trained = trainModel(t, tiny, { adapter: lora });
  for (const continuation of answers) {
    assert.deepEqual(await argmaxOver(trained, continuation), continuation.tokenIds);
  }
  assert.deepEqual(await evaluateHits(trained, answers), { hits: 6 * 24, count: 6 * 24 });
  const ofBase = await answer(client, undefined, prompts[0]!);
  assert.notDeepEqual(ofBase.tokenIds, answers[0]!.tokenIds);
  assert.notDeepEqual(await argmaxOver(trained, ofBase), ofBase.tokenIds);
});
