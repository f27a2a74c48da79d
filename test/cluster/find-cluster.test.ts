// A pod finds its cluster in the files that Kubernetes mounts. A server elsewhere fails at its start with the reason.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { findCluster } from '../../src/cluster/api-client.ts';
import { ConfigError } from '../../src/common/errors.ts';
import { createLog } from '../../src/common/log.ts';
import { openRunner } from '../../src/compose/serving-jobs.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { temporaryFolder } from '../fixtures.ts';

test('a pod has its namespace, its cluster’s certificate, and a token that changes', async (t) => {
  const dir = temporaryFolder(t);
  const write = (name: string, text: string) => writeFileSync(path.join(dir, name), text);
  write('ca.crt', 'PEM');
  write('namespace', 'space\n');
  write('token', 'first');
  const { url, ca, namespace, readToken } = await findCluster(dir);
  assert.deepEqual([url, ca, namespace], ['https://kubernetes.default.svc', 'PEM', 'space']);
  assert.equal(await readToken(), 'first');
  write('token', 'second');
  assert.equal(await readToken(), 'second');
});

test('a server outside of a cluster reports which settings are missing', async (t) => {
  const dir = temporaryFolder(t);
  const open = (env: Record<string, string>) => {
    const config = loadConfig({}, { LORIKEET_TRAIN_RUNNER: 'kubernetes', ...env });
    const options = { store: createMemoryStore(), baseDigest: 'd', log: createLog('silent') };
    return openRunner(config, options);
  };
  const lacks = (fault: RegExp) => (error: unknown) =>
    error instanceof ConfigError && fault.test(error.faults.join());
  await assert.rejects(open({}), lacks(/^LORIKEET_TRAIN_POD: is missing/));
  const file = path.join(dir, 'pod.json');
  await assert.rejects(open({ LORIKEET_TRAIN_POD: file }), lacks(/^LORIKEET_TRAIN_POD: .*ENOENT/));
  writeFileSync(file, '{}');
  await assert.rejects(open({ LORIKEET_TRAIN_POD: file }), lacks(/^LORIKEET_TRAIN_POD: spec: /));
  await assert.rejects(findCluster(dir), lacks(/^LORIKEET_TRAIN_RUNNER: kubernetes: /));
});
