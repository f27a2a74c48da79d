// The folders that a server writes: image, chart and docs provide them all, and what has no folder is refused by name.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { createLog } from '../../src/common/log.ts';
import { openOwnProcess } from '../../src/compose/own-process.ts';
import { openServingTinker } from '../../src/compose/serving-tinker.ts';
import { SERVER_FOLDER_NAMES, SERVER_FOLDERS } from '../../src/contracts/server-folders.ts';
import type { JobsSide, LineUsers } from '../../src/http/deps.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';
import { readError, serve } from '../http/served.ts';

const NAMES = [...SERVER_FOLDER_NAMES].sort();
/** Root may write everywhere, so the test becomes somebody else for a while. */
const NOBODY = 65_534;

test('the image, the chart and the docs provide all folders', () => {
  const found = (text: string, pattern: RegExp) =>
    Array.from(text.matchAll(pattern), ([, name]) => name);
  const image = found(
    readFileSync('Dockerfile', 'utf8').match(/RUN mkdir -p [^&]*/)![0],
    /\/data\/cache\/(\S+)/g,
  );
  const docs = found(
    readFileSync('docs/containers.md', 'utf8'),
    /--tmpfs \/data\/cache\/([\w-]+):uid=1000/g,
  );
  const chart = readFileSync('infra/helm/lorikeet/templates/_helpers.tpl', 'utf8');
  const [, list] = /range list ([^}]*) \}\}\n *- \{ name: data, mountPath: \/data\/cache\//.exec(
    chart,
  )!;
  for (const names of [image, docs, found(list!, /"([\w-]+)"/g)])
    assert.deepEqual(names.sort(), NAMES);
});

test('a server leaves out what it cannot write, says so, and needs no folder for what is off', async (t) => {
  const home = temporaryFolder(t);
  const cache = path.join(home, 'cache');
  mkdirSync(path.join(cache, 'uploads'), { recursive: true });
  for (const [folder, mode] of [
    [home, 0o755],
    [path.join(cache, 'uploads'), 0o777],
    [cache, 0o555],
  ] as const) {
    chmodSync(folder, mode);
  }
  const warnings: string[] = [];
  const log = createLog('warn', { write: (line) => warnings.push(line) });
  const config = loadConfig({}, { LORIKEET_HOME: home });
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid!(NOBODY);
  try {
    const own = await openOwnProcess(config, log);
    assert.deepEqual(own.unwritable, ['batches', 'jobs', 'tinker']);
    assert.match(warnings.join(''), /cache\/batches".*"code":"EACCES".*batches are refused/);
    const off = await openOwnProcess({ ...config, batches: 0, training: 0 }, log);
    assert.deepEqual(off.unwritable, []);
    const inPods = await openOwnProcess({ ...config, trainRunner: 'kubernetes' }, log);
    assert.deepEqual(inPods.unwritable, ['batches', 'jobs'], 'a cluster has no training loops');
  } finally {
    if (isRoot) process.seteuid!(0);
    chmodSync(cache, 0o755);
  }
});

test('a server that cannot write the folder of jobs still has training loops', async (t) => {
  const store = createMemoryStore();
  const config = loadConfig({}, { LORIKEET_HOME: temporaryFolder(t) });
  const log = createLog('silent');
  const own = { ...(await openOwnProcess(config, log)), unwritable: ['jobs'] } as const;
  const { service, drain } = await openServingTinker(config, {
    ...{ artifact: tinyModel().artifact, store, own, log },
    repository: createRepository(store),
    forget() {},
    client: { model: undefined },
    model: { maxSeqLength: 64 },
    answer: () => assert.fail('nothing is sampled'),
  });
  assert.ok(service);
  await drain!();
});

test('a feature without its folder is refused by name, and the others work', async () => {
  const unwritable = ['batches', 'tinker'] as const;
  const jobs = { files: {}, service: {}, uploads: {} } as JobsSide;
  const served = serve({ unwritable, jobs, batches: {} as NonNullable<LineUsers['batches']> });
  for (const name of unwritable) {
    for (const route of SERVER_FOLDERS[name].routes) {
      const response = await served.post(route.replace('*', 'create_session'), {});
      assert.equal(response.status, 507, route);
      assert.equal(response.headers.get('x-should-retry'), 'false');
      const { code, message } = await readError(response);
      assert.equal(code, 'insufficient_storage');
      assert.match(message, new RegExp(`takes no ${SERVER_FOLDERS[name].feature}, because`));
    }
  }
  assert.equal((await served.post('/v1/files', {})).status, 415);
  const completion = { model: 'base', prompt: 'a', max_tokens: 2 };
  assert.equal((await served.post('/v1/completions', completion)).status, 200);
});
