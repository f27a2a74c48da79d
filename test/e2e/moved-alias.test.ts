// Two servers on one bucket while an alias moves under fifty streams: the whole program, a real S3 server, real engines.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createRepository } from '../../adapters/repository/repository.ts';
import { postJson, streamedText } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { testUnless } from '../shared.ts';
import { startServing } from './program.ts';
import { openStore, prepareS3Server, startS3Server, storeEnvironment } from './s3-server.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const skip = await prepareS3Server();
const test = testUnless(skip);
const server = skip ? undefined : await startS3Server({ after });
const POLL_MS = 500;
const ZEN = { tenant: 'local', name: 'zen' };

interface Answer {
  readonly version: string | null;
  readonly tier: string | null;
  readonly text: string;
}

async function complete(url: string, model: string, rest: object = {}): Promise<Answer> {
  const response = await postJson(`${url}/v1/completions`, {
    model,
    prompt: 'Once upon a time',
    max_tokens: 60,
    temperature: 0,
    ignore_eos: true,
    stream: true,
    ...rest,
  });
  const body = await response.text();
  assert.equal(response.status, 200, body);
  const { headers } = response;
  return {
    version: headers.get('x-lorikeet-version'),
    tier: headers.get('x-lorikeet-tier'),
    text: streamedText(body),
  };
}

test('T05, I17: an alias that moves under fifty streams of two servers: each stream is of one version, then all of the new', async (t) => {
  assert(server);
  const folder = temporaryFolder(t);
  const repository = createRepository(openStore(server, 'moved'));
  for (const seed of [1, 2]) {
    const directory = writeToyAdapter(path.join(folder, `${seed}`), seed);
    await repository.publish(ZEN, { directory });
  }
  await repository.moveAlias(ZEN, 'prod', { version: 1 });
  const environment = {
    ...storeEnvironment(server, { prefix: 'moved' }),
    LORIKEET_ALIAS_POLL_MS: `${POLL_MS}`,
  };
  const servers = await Promise.all(
    ['a', 'b'].map((name) => {
      const args = ['--model', 'models/toy', '--weights', 'f32', '--slots', '8'];
      return startServing(args, path.join(folder, name), environment);
    }),
  );
  t.after(() => Promise.all(servers.map((one) => one.stop())));
  const urls = servers.map(({ url }) => url);
  const atOnce = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, i) => complete(urls[i % 2]!, 'zen:prod')));

  const golden = new Map<string | null, string>();
  for (const model of ['zen@1', 'zen@2']) golden.set(model, (await complete(urls[0]!, model)).text);
  assert.notEqual(golden.get('zen@1'), golden.get('zen@2'));
  const assertGolden = (answers: Answer[], versions: string[]) => {
    for (const { version, text } of answers) {
      assert.ok(versions.includes(version!), `${version}`);
      assert.equal(text, golden.get(version), version!);
    }
  };

  assertGolden(await atOnce(10), ['zen@1']);
  const during = atOnce(50);
  await repository.moveAlias(ZEN, 'prod', { version: 2 });
  const more = atOnce(10);
  await delay(POLL_MS);
  const moved = await atOnce(10);
  assertGolden([...(await during), ...(await more)], ['zen@1', 'zen@2']);
  assertGolden(moved, ['zen@2']);

  await repository.rollback(ZEN, 'prod');
  await delay(POLL_MS);
  const rolledBack = await atOnce(10);
  assertGolden(rolledBack, ['zen@1']);
  assert.ok(
    rolledBack.every(({ tier }) => tier !== 'store'),
    'the version before was warm',
  );
});
