// Where a finished adapter goes: versions in a store, folders by name.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { createFolderPublisher, createStorePublisher } from '../../trainer/run/publish-result.ts';
import { shelf, writeAdapter } from '../adapters/repository/shelf.ts';
import { temporaryFolder } from '../fixtures.ts';
import { metricsRow } from './runs.ts';

const BASE = 'b'.repeat(64);
const CARD: EvaluationCard = {
  gates: [{ gate: 'finite', passed: true, value: 0, relation: '<=', limit: 0 }],
  skipped: [{ gate: 'validation', reason: 'there are no validation rows' }],
  largest_weight: 0.5,
};
const METRICS = [metricsRow(1, 2.9), metricsRow(2, 2.8, 2.5), metricsRow(3, 2.7, 2.75)];

test('in a store a run is the next version of its name, with its base and figures', async (t) => {
  const { repository, adapter } = shelf(t);
  const publisher = createStorePublisher(repository, { tenant: 'local', baseDigest: BASE });
  const finished = (seed: number) => ({
    ...{ name: 'zen', job: `zen-${seed}`, metrics: METRICS, evaluation: CARD },
    directory: adapter(seed),
  });
  assert.equal(await publisher.publish(finished(1)), 'New adapter zen@1 in memory');
  assert.equal(await publisher.publish(finished(2)), 'New adapter zen@2 in memory');
  assert.equal(await publisher.publish(finished(2)), 'New adapter zen@2 in memory');
  const manifest = (await repository.readManifest('local', 'zen', 2))!;
  assert.equal(manifest.base_digest, BASE);
  assert.equal(manifest.job, 'zen-2');
  assert.deepEqual(manifest.metrics, {
    ...{ steps: 3, train_loss: 2.7, validation_loss: 2.5 },
    evaluation: CARD,
  });
  const { aliases } = (await repository.readAliases('local', 'zen'))!;
  assert.deepEqual(aliases.aliases, { latest: { version: 2 } });
});

test('in a folder a run replaces the adapter of its name, and leaves nothing beside it', async (t) => {
  const root = temporaryFolder(t);
  const adaptersDir = path.join(root, 'adapters');
  const publisher = createFolderPublisher(adaptersDir);
  for (const seed of [1, 2]) {
    const directory = writeAdapter(root, seed);
    await publisher.publish({ name: 'zen', directory, job: 'j', metrics: [], evaluation: CARD });
    assert.deepEqual(readdirSync(adaptersDir), ['zen']);
    const file = 'adapter_model.safetensors';
    const bytes = readFileSync(path.join(adaptersDir, 'zen', file));
    assert.ok(bytes.equals(readFileSync(path.join(directory, file))));
  }
  assert.equal(publisher.serveFlag, ` --adapters ${adaptersDir}`);
});
