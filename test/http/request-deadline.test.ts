// Requests that are not answered in time, by their own header or by the server's default.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { withResolvers } from '../../src/common/waiting.ts';
import { assertRefused, idle, readFrames, serve, within } from './served.ts';

const URL = '/v1/completions';
const request = { model: 'base', prompt: 'a', max_tokens: 3 };

/** A server whose engine stands still from the nth run on, until `resume`. `stands` resolves then. */
function standstill(options: Parameters<typeof serve>[0] = {}, from = 1) {
  const { promise: resumed, resolve: resume } = withResolvers<void>();
  const { promise: stands, resolve: stand } = withResolvers<void>();
  after(() => resume()); // before the server ends, also if the test fails
  const served = serve(options);
  let runs = 0;
  served.engine.beforeRun = () => {
    if (++runs < from) return undefined;
    stand();
    return resumed;
  };
  return { ...served, stands, resume };
}

test('F05: an engine that is too slow costs a request its time, and the next one is answered', async () => {
  const served = standstill({ slotCount: 1 });
  const running = served.post(URL, request, within(500));
  await Promise.race([served.stands, running]);
  const holding = served.post(URL, request);
  const waiting = served.post(URL, { ...request, stream: true }, within(60));
  for (const answer of await Promise.all([running, waiting])) {
    assert.equal(answer.headers.get('x-should-retry'), 'false');
    await assertRefused(answer, { status: 504, code: 'deadline_exceeded' });
  }
  served.resume();
  assert.equal((await holding).status, 200);
  await idle(served);
  assert.equal((await served.post(URL, request, within(60_000))).status, 200);
});

test('a stream that takes too long ends with an error event, and frees its slot', async () => {
  const served = standstill({}, 3);
  const frames = await readFrames(
    await served.post(URL, { ...request, max_tokens: 9, stream: true }, within(200)),
  );
  const { error } = frames.at(-1) as { error: { code: string; message: string } };
  assert.equal(error.code, 'deadline_exceeded');
  assert.match(error.message, /time limit of 0\.2 s\..*x-request-timeout-ms.*--request-timeout/);
  assert.ok(frames.length > 1);
  served.resume();
  await idle(served);
});

test('without the header the time is the default', async () => {
  const served = standstill({ limits: { requestTimeoutMs: 40 } });
  const answer = await served.post(URL, request);
  assert.equal(answer.status, 504);
  served.resume();
  await nextTurn();
});

for (const value of ['0', '-1', '1.5', '1e3', 'soon', '86400001', '']) {
  test(`a time of "${value}" is refused by the name of the header`, async () => {
    const answer = await serve().post(URL, request, within(value));
    await assertRefused(answer, { status: 400, param: 'x-request-timeout-ms' });
  });
}
