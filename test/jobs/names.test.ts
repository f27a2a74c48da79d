// The names of a job's adapter and models, and the trainer's job of a request.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseModelName } from '../../adapters/registry/model-name.ts';
import { NAME_PATTERN } from '../../adapters/repository/manifest.ts';
import { ServeError } from '../../src/common/errors.ts';
import { resolveHyperparameters, splitBatch, toTrainerJob } from '../../src/jobs/job-folder.ts';
import {
  checkpointAlias,
  checkpointModel,
  fineTunedModel,
  shortId,
  toAdapterName,
} from '../../src/jobs/names.ts';
import { JOB, newJob } from './sample-jobs.ts';

describe('the name of an adapter', () => {
  test('is its suffix in the letters that names have', () => {
    for (const [suffix, name] of [
      ['Colours', 'colours'],
      ['My Model (v2)', 'my-model-v2'],
      ['Snips Demo!', 'snips-demo'],
      ['a.b_c-d', 'a.b_c-d'],
      ['--zen', 'zen'],
      ['Zürich', 'z-rich'],
      ['x'.repeat(64), 'x'.repeat(63)],
    ]) {
      assert.equal(toAdapterName(suffix, JOB.id), name);
    }
    assert.equal(toAdapterName(undefined, JOB.id), shortId(JOB.id));
  });

  test('can be published, and its models can be named, or it is refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 70 }), (suffix) => {
        let name: string;
        try {
          name = toAdapterName(suffix, JOB.id);
        } catch (error) {
          assert.ok(error instanceof ServeError && error.param === 'suffix');
          return;
        }
        assert.match(name, NAME_PATTERN);
        const { request } = newJob();
        const job = newJob({ name, request: { ...request, suffix } });
        for (const [model, alias] of [
          [fineTunedModel(job), shortId(JOB.id)],
          [checkpointModel(job, 20), checkpointAlias(JOB.id, 20)],
        ] as const) {
          assert.deepEqual(parseModelName(model), {
            kind: 'adapters',
            terms: [
              {
                weight: 1,
                adapter: {
                  name,
                  selector: { kind: 'alias', alias },
                  origin: { base: 'toy', tenant: 'acme' },
                },
              },
            ],
          });
        }
      }),
      { numRuns: 500 },
    );
  });

  test('is left out of a model without a suffix', () => {
    const { suffix: _suffix, ...request } = newJob().request;
    const job = newJob({ name: shortId(JOB.id), request });
    assert.equal(fineTunedModel(job), `ft:toy:acme::${shortId(JOB.id)}`);
  });
});

describe('the trainer’s job', () => {
  test('splits each batch into equal parts that fit into memory', () => {
    for (let size = 1; size <= 256; size++) {
      const { batchSize, gradAccumulation } = splitBatch(size);
      assert.equal(batchSize * gradAccumulation, size);
      assert.ok(batchSize <= 16);
      assert.ok(batchSize > 1 || size === 1 || size > 16, `${size}: one at a time`);
    }
  });

  test('has the request’s settings, the numbers for auto and local files', () => {
    const { request } = newJob();
    const hyperparameters = { ...request.hyperparameters, batchSize: 32, nEpochs: 2 } as const;
    const kind = {
      ...({ rslora: true, loraBias: true, init: 'pissa', alora: 'now' } as const),
      ...({ trainHead: 'full', trainEmbeddings: 'lora' } as const),
      modulesToSave: ['norm'],
    };
    const settings = { rank: 4, ...kind, compute: 'int8', gate: { margin: 0.1 } } as const;
    const job = toTrainerJob(
      { ...request, hyperparameters, settings },
      { model: '/base', data: '/rows', initAdapter: '/init' },
    );
    assert.deepEqual(job, {
      model: '/base',
      data: '/rows',
      initAdapter: '/init',
      rank: 4,
      ...kind,
      compute: 'int8',
      seed: 7,
      epochs: 2,
      learningRateMultiplier: 1,
      batchSize: 8,
      gradAccumulation: 4,
    });
    assert.deepEqual(resolveHyperparameters(request), {
      nEpochs: 3,
      batchSize: 8,
      learningRateMultiplier: 1,
    });
  });

  test('shows the figures of validations only if there are some, so a shown job can be repeated', () => {
    const request = { objective: 'reinforcement', hyperparameters: {} } as const;
    const shown = (validationExamples: number) => {
      const resolved = resolveHyperparameters(request, { stepsPerEpoch: 5, validationExamples });
      return [resolved.evalInterval, resolved.evalSamples];
    };
    assert.deepEqual(shown(7), [5, 7]);
    assert.deepEqual(shown(0), ['auto', 'auto']);
  });
});
