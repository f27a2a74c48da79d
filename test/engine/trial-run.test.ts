// A base that ONNX Runtime cannot run is refused at the start. One that has run is not tried again.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { Engine, type EngineOptions } from '../../src/engine/engine.ts';
import { explainFailure } from '../../src/engine/trial-run.ts';
import { OrtError, ortFunctions } from '../../src/ort/runtime.ts';
import { servingFolder, tinyModel, writeKvScales } from '../fixtures.ts';

/** Counts the runs of graphs. If `fails`, each is terminated, so it ends with an error of the runtime. */
function watchRuns(t: TestContext, { fails = false } = {}): { count: number } {
  const functions = ortFunctions();
  const original = functions.RunWithBinding;
  t.after(() => {
    functions.RunWithBinding = original;
  });
  const runs = { count: 0 };
  functions.RunWithBinding = {
    sync: original.sync,
    async(session, options, binding) {
      runs.count++;
      if (fails) functions.RunOptionsSetTerminate.sync(options!);
      return original.async(session!, options!, binding!);
    },
  };
  return runs;
}

async function start(options: EngineOptions): Promise<void> {
  await (await Engine.create(options)).release();
}

for (const kv of ['f32', 'int8'] as const) {
  test(`a base with a cache in ${kv} is tried once, and again in another form`, async (t) => {
    const model = tinyModel();
    const servingDir = await servingFolder(t, model, 'int8');
    writeKvScales(servingDir, model.config, 4);
    const options = { servingDir, slotCount: 4, maxSeqLength: 32, kv };
    const runs = watchRuns(t);
    await start(options);
    assert.equal(runs.count, 3, 'a token and two of one sequence, and one of two');
    await start(options);
    assert.equal(runs.count, 3);
    await start({ ...options, kv: kv === 'f32' ? 'int8' : 'f32' });
    assert.equal(runs.count, 6);
  });
}

test('a base that the runtime cannot run is refused with its reason, at every start', async (t) => {
  const servingDir = await servingFolder(t, tinyModel(), 'f32');
  watchRuns(t, { fails: true });
  for (const _ of [1, 2]) {
    await assert.rejects(Engine.create({ servingDir, slotCount: 1, maxSeqLength: 8 }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /^--model: ONNX Runtime cannot run this base: .*terminate/);
      return true;
    });
  }
});

test('a limit of processes is not blamed on the base', async () => {
  const reason =
    'PosixThread pthread_create failed, error code: 11 error msg: Resource temporarily unavailable';
  await assert.rejects(
    explainFailure(() => Promise.reject(new OrtError('RUNTIME_EXCEPTION', reason))),
    /^ConfigError: The system allows no more threads\. Raise the limit of processes/,
  );
});

test('a provider that computes a base wrongly refuses it', async (t) => {
  const model = tinyModel({ model_type: 'gemma2', attn_logit_softcapping: 5 });
  const servingDir = await servingFolder(t, model, 'f32');
  const options = { servingDir, slotCount: 1, maxSeqLength: 16 };
  const refused = Engine.create({ ...options, runtime: { provider: 'webgpu' } });
  await assert.rejects(refused, /--provider: webgpu computes this base wrongly/);
});
