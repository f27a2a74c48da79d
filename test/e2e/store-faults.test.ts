// The whole program over a store that fails: streams of adapters that are here go on, each fault has its answer, and
// what the store gives again is served again.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { createAdapterRepository } from '../../adapters/repository/repository.ts';
import { createS3Store } from '../../adapters/store/s3.ts';
import { temporaryFolder } from '../fixtures.ts';
import { type Fault, startFaultProxy } from './fault-proxy.ts';
import { startServing } from './program.ts';
import { environmentOf, prepareS3Server, startS3Server } from './s3-server.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const skip = await prepareS3Server();

/** Adapter → what breaks its weights, and the answer. */
const FAULTS: Record<string, { fault: Fault; status: number; code: string }> = {
  slow: { fault: { kind: 'silent' }, status: 503, code: 'adapter_unavailable' },
  down: { fault: { kind: 'status', status: 503 }, status: 503, code: 'adapter_unavailable' },
  denied: { fault: { kind: 'status', status: 403 }, status: 503, code: 'adapter_unavailable' },
  gone: { fault: { kind: 'status', status: 404 }, status: 503, code: 'adapter_unavailable' },
  stalled: { fault: { kind: 'stall', at: 100 }, status: 503, code: 'adapter_unavailable' },
  flipped: { fault: { kind: 'flip', at: 900 }, status: 503, code: 'adapter_checksum_mismatch' },
};

test('while a store fails in six ways, streams of a resident adapter go on and keep their tokens', {
  skip,
}, async (t) => {
  const server = await startS3Server(t);
  const proxy = await startFaultProxy(t, server.endpoint);
  const folder = temporaryFolder(t);
  const place = { bucket: server.bucket, prefix: '' };
  const store = createS3Store(place, {
    isPathStyle: true,
    checksums: 'when_supported',
    connection: server,
  });
  const repository = createAdapterRepository(store);
  for (const [i, name] of ['resident', 'cold', ...Object.keys(FAULTS)].entries()) {
    const directory = writeToyAdapter(path.join(folder, name), i + 1);
    await repository.publish({ tenant: 'local', name }, { directory });
  }
  const args = ['--model', 'models/toy', '--weights', 'f32', '--slots', '8', '--threads', '1'];
  const serving = await startServing(args, path.join(folder, 'home'), {
    ...environmentOf(proxy.endpoint),
    LORIKEET_STORE: `s3://${server.bucket}`,
    LORIKEET_S3_PATH_STYLE: '1',
  });
  t.after(() => serving.stop());
  const complete = async (model: string, maxTokens = 60) => {
    const response = await fetch(`${serving.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model,
        prompt: 'Once upon a time',
        max_tokens: maxTokens,
        temperature: 0,
        ignore_eos: true,
      }),
    });
    const body = (await response.json()) as {
      choices?: { text: string }[];
      error?: { code: string; message: string };
    };
    const tier = response.headers.get('x-lorikeet-tier');
    return { status: response.status, headers: response.headers, tier, ...body };
  };

  const first = await complete('resident');
  assert.equal(first.tier, 'store');
  assert.equal((await complete('resident')).tier, 'slot');
  const golden = first.choices![0]!.text;

  proxy.script = ({ path: asked }) => {
    const name = Object.keys(FAULTS).find((one) => asked.includes(`/${one}/`));
    return name && asked.endsWith('.safetensors') ? FAULTS[name]!.fault : undefined;
  };
  let isOver = false;
  const neighbour = (async () => {
    const texts: string[] = [];
    while (!isOver) texts.push((await complete('resident')).choices![0]!.text);
    return texts;
  })();
  const answers = await Promise.all(
    Object.keys(FAULTS).map(async (name) => [name, await complete(name)] as const),
  );
  isOver = true;
  for (const [name, { status, headers, error }] of answers) {
    const expected = FAULTS[name]!;
    assert.deepEqual([status, error?.code], [expected.status, expected.code], name);
    assert.doesNotMatch(error!.message, new RegExp(`${server.bucket}|127\\.0\\.0\\.1|s3`), name);
    const isFinal = expected.code === 'adapter_checksum_mismatch';
    assert.equal(headers.get('x-should-retry'), isFinal ? 'false' : null, name);
    assert.ok(isFinal || headers.get('retry-after'), name);
  }
  const texts = await neighbour;
  assert.ok(texts.length > 3);
  for (const text of texts) assert.equal(text, golden);
  for (const alert of ['s3_auth', 'dangling_pointer', 'corrupt_object']) {
    assert.ok(serving.output.error.includes(alert), alert);
  }

  proxy.script = () => undefined;
  assert.equal((await complete('cold')).tier, 'store');
});
