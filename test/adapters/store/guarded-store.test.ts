// A store that fails raises the same alert for files and jobs as for adapters.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRepository } from '../../../adapters/repository/repository.ts';
import { guardStore } from '../../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../../adapters/store/memory.ts';
import {
  type ObjectStore,
  StoreError,
  type StoreErrorKind,
} from '../../../adapters/store/store.ts';
import { createLog } from '../../../src/common/log.ts';

const ALERTS: readonly (readonly [StoreErrorKind, string | undefined])[] = [
  ['denied', 's3_auth'],
  ['invalid', 'store_invalid'],
  ['unavailable', undefined],
];

function failing(kind: StoreErrorKind): ObjectStore {
  const fail = () => Promise.reject(new StoreError(kind, 'said no'));
  return { ...createMemoryStore(), label: 's3://bucket', get: fail, head: fail };
}

for (const [kind, alert] of ALERTS) {
  test(`${kind} is ${alert ?? 'no alert'}, whoever met it`, async () => {
    const lines: Record<string, unknown>[] = [];
    const log = createLog('info', { write: (line) => void lines.push(JSON.parse(line)) });
    const store = failing(kind);
    await assert.rejects(guardStore(store, log).get('a/b'), { code: 'store_unavailable' });
    const repository = createRepository(store, { log });
    const reading = repository.readManifest('local', 'zen', 1);
    await assert.rejects(reading, { code: 'adapter_unavailable' });
    assert.deepEqual(
      lines.map((line) => [line['alert'], line['store'], line['kind']]),
      [kind, kind].map(() => [alert, 's3://bucket', kind]),
    );
  });
}
