// The image without an engine of containers: the Dockerfile's steps in a chroot over Debian and Node 24, and what comes
// of them started as such an engine would: as process 1, not root, on a root folder that may not be written.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
} from 'node:fs';
import path from 'node:path';
import { test as always } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { NOT_BUNDLED } from '../../../scripts/not-bundled.mjs';
import { SERVER_FOLDER_NAMES } from '../../../src/contracts/server-folders.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { freePort } from '../../free-port.ts';
import { skipUnlessLong, testUnless } from '../../shared.ts';
import { createBuilder, type Image } from './image/build.ts';
import { outcomeOf, runInside, skipWithoutChroot, startInside } from './image/chroot.ts';
import { parseDockerfile } from './image/dockerfile.ts';
import { findNodeImage } from './image/images.ts';

const text = readFileSync('Dockerfile', 'utf8');
/** The base that comes with the program: no network is needed. */
const BASE = '/app/models/toy';
/** On top of Node's image: ONNX Runtime is 45 of them, the API's pages 12, the program itself 6. */
const MAX_ADDED_MB = 90;

const noChroot = skipUnlessLong || skipWithoutChroot();
const nodeImage = noChroot ? { reason: noChroot } : findNodeImage();
const skip = 'reason' in nodeImage ? nodeImage.reason : false;
const test = testUnless(skip);
const folder = temporaryFolder();

always(
  'both images end alike: not root, a health check, the exec form, as the last stage the one for the CPU',
  () => {
    const { stages } = parseDockerfile(text, {});
    const [cuda, cpu] = ['cuda', 'cpu'].map((name) => stages.find((stage) => stage.name === name));
    const settled = /^(ENV|USER|EXPOSE|HEALTHCHECK|CMD)$/;
    const ends = [cuda, cpu].map((stage) =>
      stage!.instructions.filter(({ keyword }) => settled.test(keyword)),
    );
    assert.deepEqual(ends[0], ends[1]);
    assert.equal(stages.at(-1), cpu);
    const found = new Map(ends[0]!.map((instruction) => [instruction.keyword, instruction.text]));
    assert.match(found.get('USER')!, /^[1-9]\d*:[1-9]\d*$/);
    assert.match(found.get('CMD')!, /^\[/);
    assert.match(found.get('HEALTHCHECK')!, /^CMD \[/);
    assert.ok(stages.every(({ from }) => !from.includes('alpine')));
  },
);

/** With the base baked in; built once. */
let image: Promise<Image> | undefined;
function buildCpu(): Promise<Image> {
  assert('layers' in nodeImage);
  const context = path.join(folder, 'context');
  copyContext(context);
  const cache = execFileSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).trim();
  const file = parseDockerfile(text, { BASE });
  // Set on machines whose network has its own certificate authority.
  const authorities = process.env['NODE_EXTRA_CA_CERTS'];
  const builder = createBuilder(file, {
    context,
    folder,
    images: new Map([[file.stages[0]!.from, nodeImage]]),
    environment: new Map([
      ['HOME', '/root'],
      ['npm_config_cache', '/srv'],
      ['npm_config_prefer_offline', 'true'],
      ...(authorities
        ? ([['NODE_EXTRA_CA_CERTS', `/opt/${path.basename(realpathSync(authorities))}`]] as const)
        : []),
    ]),
    mounts: new Map([
      [realpathSync(cache), '/srv'],
      ...(authorities ? ([[path.dirname(realpathSync(authorities)), '/opt']] as const) : []),
    ]),
  });
  return builder('cpu');
}

/** What .dockerignore lets in: this project's lists folders and files of the top that are wanted. */
function copyContext(context: string): void {
  const lines = readFileSync('.dockerignore', 'utf8').split('\n');
  assert.ok(lines.includes('*'));
  const wanted = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
  const patterns = wanted.map(
    (name) => new RegExp(`^${name.replaceAll('.', '\\.').replaceAll('*', '.*')}$`),
  );
  mkdirSync(context);
  for (const name of readdirSync('.')) {
    if (patterns.some((pattern) => pattern.test(name))) {
      cpSync(name, path.join(context, name), { recursive: true });
    }
  }
}

const containerOf = ({ layers, environment, workdir, user }: Image, name: string) => ({
  layers,
  environment,
  workdir,
  user,
  scratch: path.join(folder, `.${name}`),
});

test('the image holds the program, its packages and a base, and nothing that only builds it', async (t) => {
  image ??= buildCpu();
  const built = await image;
  const app = path.join(folder, 'app', 'app');
  assert.deepEqual(
    readdirSync(app).sort(),
    'LICENSE NOTICE bin dist models node_modules package.json'.split(' '),
  );
  const modules = path.join(app, 'node_modules');
  for (const name of NOT_BUNDLED) assert.ok(existsSync(path.join(modules, name)), name);
  const unwanted = ['typescript', '@biomejs', 'openai', 'knip', 'playwright-core', 'tsx', 'hono'];
  for (const name of unwanted) assert.ok(!existsSync(path.join(modules, name)), name);
  const runtimes = path.join(modules, 'onnxruntime-node/bin/napi-v6');
  assert.deepEqual(readdirSync(runtimes), ['linux']);
  assert.deepEqual(readdirSync(path.join(runtimes, 'linux')), ['x64']);
  assert.deepEqual(readdirSync(path.join(modules, '@koromix')), ['koffi-linux-x64']);
  const sources = readdirSync(app, { recursive: true, encoding: 'utf8' }).filter(
    (name) => /(?<!\.d)\.ts$/.test(name) && !name.startsWith('node_modules'),
  );
  assert.deepEqual(sources, []);
  const [size] = execFileSync('du', ['-sm', path.join(folder, 'app')], {
    encoding: 'utf8',
  }).split('\t');
  assert.ok(Number(size) < MAX_ADDED_MB, `${size} MB`);
  t.diagnostic(`${size} MB on top of Node's image`);

  const container = containerOf(built, 'looks');
  const { output } = await runInside(container, [
    'find',
    '/app',
    '-writable',
    '-o',
    '!',
    '-readable',
  ]);
  assert.equal(output, '', 'the program can be read by its user, and not changed');
  const owned = await runInside(container, ['find', '/data', '!', '-user', '1000']);
  assert.equal(owned.output, '');
  assert.ok(existsSync(path.join(folder, 'cpu/data/models/base/lorikeet.json')));
});

test('it is healthy, answers and trains from the base that is baked in, and ends at SIGTERM, on a read-only root', async (t) => {
  image ??= buildCpu();
  const built = await image;
  const port = await freePort();
  const environment = new Map([
    ...built.environment,
    ['PORT', `${port}`],
    ['HOME', '/home/node'],
    ['LORIKEET_STORE', 'memory:'],
  ]);
  const closed = await runInside({ ...containerOf(built, 'closed'), environment }, built.command);
  assert.equal(closed.code, 78, 'without keys it listens to nobody');
  assert.match(closed.output, /LORIKEET_ALLOW_OPEN/);

  environment.set('LORIKEET_ALLOW_OPEN', '1');
  const serves = { ...containerOf(built, 'serves'), environment, mounts: volumes() };
  const child = startInside(serves, built.command);
  t.after(() => child.kill('SIGKILL'));
  const outcome = outcomeOf(child);
  const isHealthy = async () => {
    const checks = { ...containerOf(built, 'checks'), environment };
    return (await runInside(checks, built.healthCheck)).code === 0;
  };
  const deadline = AbortSignal.timeout(60_000);
  while (!(await isHealthy())) {
    assert.equal(child.exitCode, null, 'it is still there');
    await delay(200, undefined, { signal: deadline });
  }
  const url = `http://127.0.0.1:${port}`;
  for (const page of ['/', '/docs', '/openapi.json', '/metrics']) {
    assert.equal((await fetch(url + page)).status, 200, page);
  }
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none' });
  await completeBatch(client);
  await trainAndAsk(client);

  const [first] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ');
  process.kill(Number(first), 'SIGTERM');
  const { code, output } = await outcome;
  assert.equal(code, 0, output);
});

/** Creates the folders that the chart mounts into a server whose image contains the base. */
function volumes(): Map<string, string> {
  return new Map(
    SERVER_FOLDER_NAMES.map((name) => {
      const volume = path.join(folder, 'volumes', name);
      mkdirSync(volume, { recursive: true });
      chownSync(volume, 1000, 1000);
      return [volume, `/data/cache/${name}`] as const;
    }),
  );
}

async function trainAndAsk(client: OpenAI): Promise<void> {
  const rows = Array.from({ length: 10 }, (_, i) =>
    JSON.stringify({ prompt: `Number ${i} is`, completion: ` ${i % 2 ? 'odd' : 'even'}.` }),
  );
  const data = await toFile(Buffer.from(rows.join('\n')), 'rows.jsonl');
  const file = await client.files.create({ file: data, purpose: 'fine-tune' });
  const { jobs } = client.fineTuning;
  const hyperparameters = { n_epochs: 1 };
  let job = await jobs.create({ model: 'base', training_file: file.id, hyperparameters });
  const deadline = AbortSignal.timeout(120_000);
  while (!['succeeded', 'failed'].includes(job.status)) {
    await delay(300, undefined, { signal: deadline });
    job = await jobs.retrieve(job.id);
  }
  assert.equal(job.status, 'succeeded', job.error?.message);
  const request = { model: job.fine_tuned_model!, prompt: 'Number 3 is', max_tokens: 4 };
  assert.equal((await client.completions.create(request)).choices.length, 1);
}

async function completeBatch(client: OpenAI): Promise<void> {
  const url = '/v1/completions';
  const body = { model: 'base', prompt: 'One is', max_tokens: 4 };
  const line = JSON.stringify({ custom_id: 'a', method: 'POST', url, body });
  const data = await toFile(Buffer.from(line), 'lines.jsonl');
  const { id } = await client.files.create({ file: data, purpose: 'batch' });
  const window = { completion_window: '24h' } as const;
  let batch = await client.batches.create({ input_file_id: id, endpoint: url, ...window });
  const deadline = AbortSignal.timeout(60_000);
  while (['validating', 'in_progress', 'finalizing'].includes(batch.status)) {
    await delay(300, undefined, { signal: deadline });
    batch = await client.batches.retrieve(batch.id);
  }
  assert.deepEqual([batch.status, batch.request_counts?.completed], ['completed', 1]);
}
