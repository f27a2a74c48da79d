// Versions and aliases that change while requests are served.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFsStore } from '../../adapters/store/fs.ts';
import { POLL_MS, watchStore } from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { type ServedPublished, sayingOf, servePublished } from './published.ts';
import { idle, readFrames } from './served.ts';

const URL = '/v1/completions';
const NAME = { tenant: 'local', name: 'zen' };

interface Chunk {
  system_fingerprint: string;
  choices: { text: string }[];
}

/** One streamed answer: which version its head promises, and what was said. */
async function stream(served: ServedPublished, model = 'zen', rest = {}) {
  const body = { model, prompt: 'a', max_tokens: 192, stream: true, ...rest };
  const response = await served.post(URL, body);
  assert.equal(response.status, 200, await (response.ok ? '' : response.text()));
  const frames = readFrames(response);
  return async () => {
    const all = await frames;
    assert.equal(all.at(-1), '[DONE]');
    const chunks = all.slice(0, -1) as Chunk[];
    const text = chunks.map(({ choices }) => choices[0]?.text ?? '').join('');
    const digest = response.headers.get('x-lorikeet-adapter')!;
    assert.equal(new Set(chunks.map((chunk) => chunk.system_fingerprint)).size, 1);
    assert.equal(chunks[0]!.system_fingerprint.split('-')[1], digest.slice(0, 12));
    return { digest, text, version: response.headers.get('x-lorikeet-version') };
  };
}

/** Each stream is whole what one version says: the one that its head promises. */
function assertGolden(streams: { digest: string; text: string }[], digests: readonly string[]) {
  for (const { digest, text } of streams) {
    assert.ok(digests.includes(digest));
    assert.equal(text, sayingOf('local', digest).repeat(3));
  }
}

test('T05, I17: fifty streams during a publication are each of one version, and after the poll time of the new', async () => {
  const served = servePublished(undefined, { slotCount: 16 });
  const old = await served.publish('local', 'zen');
  const before = await Promise.all(Array.from({ length: 20 }, () => stream(served)));
  const publication = served.publish('local', 'zen');
  const during = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      served.clock.nowMs += POLL_MS / 16;
      for (let turn = 0; turn < i; turn++) await nextTurn();
      return stream(served);
    }),
  );
  const next = await publication;
  served.clock.nowMs += POLL_MS + 1;
  const after = await Promise.all(Array.from({ length: 10 }, () => stream(served)));
  const ended = (streams: (() => ReturnType<Awaited<ReturnType<typeof stream>>>)[]) =>
    Promise.all(streams.map((end) => end()));
  const [first, mixed, last] = [await ended(before), await ended(during), await ended(after)];
  assertGolden(first, [old]);
  assertGolden(mixed, [old, next]);
  assertGolden(last, [next]);
  assert.ok(first.every(({ version }) => version === 'zen@1'));
  assert.ok(last.every(({ version }) => version === 'zen@2'));
  await idle(served, 100);
  assert.equal(served.leased.held, 0);
});

test('two servers on one folder see a moved alias within the poll time, and a rollback', async (t) => {
  const folder = temporaryFolder(t);
  const servers = [0, 1].map(() => servePublished(watchStore(createFsStore(folder))));
  const [writer] = servers;
  const said = async (model: string) => {
    const answers = servers.map(async (served) => (await (await stream(served, model))()).digest);
    return Promise.all(answers);
  };
  const pass = (ms: number) => {
    for (const { clock } of servers) clock.nowMs += ms;
  };
  const first = await writer!.publish('local', 'zen', { aliases: ['stable'] });
  assert.deepEqual(await said('zen:stable'), [first, first]);
  const second = await writer!.publish('local', 'zen');
  await writer!.repository.moveAlias(NAME, 'stable', { version: 2 });
  pass(POLL_MS + 1);
  assert.deepEqual(await said('zen:stable'), [second, second]);
  await writer!.repository.rollback(NAME, 'stable');
  pass(POLL_MS + 1);
  assert.deepEqual(await said('zen:stable'), [first, first]);
  const fetched = servers.map(({ store }) =>
    store.reads.filter((key) => key.includes('.safetensors')),
  );
  assert.ok(
    fetched.every((keys) => keys.length === 2),
    'the version before was still on the disk',
  );
});

test('the version before stays warm, and the new one is fetched before a request needs it', async () => {
  const served = servePublished();
  await served.publish('local', 'zen');
  const ask = async () => {
    const response = await served.post(URL, { model: 'zen', prompt: 'a', max_tokens: 1 });
    await response.arrayBuffer();
    return [response.headers.get('x-lorikeet-version'), response.headers.get('x-lorikeet-tier')];
  };
  assert.deepEqual(await ask(), ['zen@1', 'store']);
  await served.publish('local', 'zen');
  served.clock.nowMs = POLL_MS / 2 + 1;
  assert.deepEqual((await ask())[0], 'zen@1');
  const { leased } = served;
  while (leased.total < 3 || leased.held > 0) await nextTurn();
  await nextTurn(); // two requests, and the new version for nobody yet
  served.clock.nowMs = POLL_MS;
  assert.deepEqual(await ask(), ['zen@2', 'disk']);
  await served.repository.rollback(NAME, 'latest');
  served.clock.nowMs = 3 * POLL_MS;
  assert.deepEqual(await ask(), ['zen@1', 'disk']);
});

describe('a canary', () => {
  test('gets its share of requests, and each user one side', async () => {
    const served = servePublished(undefined, { slotCount: 16, admission: { maxWaiting: 1000 } });
    await served.publish('local', 'zen');
    await served.publish('local', 'zen');
    const split = [
      { version: 1, percent: 75 },
      { version: 2, percent: 25 },
    ];
    await served.repository.moveAlias(NAME, 'prod', { split });
    const versionFor = async (rest: object) => {
      const body = { model: 'zen:prod', prompt: 'a', max_tokens: 1, ...rest };
      const response = await served.post(URL, body);
      await response.arrayBuffer();
      assert.equal(response.headers.get('x-lorikeet-alias'), 'prod');
      return response.headers.get('x-lorikeet-version');
    };
    const count = 160;
    const versions = await Promise.all(Array.from({ length: count }, () => versionFor({})));
    const canary = versions.filter((version) => version === 'zen@2').length;
    const bound = 5 * Math.sqrt(count * 0.25 * 0.75);
    assert.ok(Math.abs(canary - count / 4) <= bound, `${canary} of ${count}`);
    for (const sticky of [{ user: 'ann' }, { prompt_cache_key: 'talk-7' }, { user: 'bob' }]) {
      const own = await Promise.all(Array.from({ length: 20 }, () => versionFor(sticky)));
      assert.equal(new Set(own).size, 1);
    }
  });
});
