// Requests whose schemas wait to be compiled, each in real processes: tenants take turns, and nobody waits longer than a request
// may.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { test } from 'node:test';
import { serveKeyed } from './keyed.ts';
import { assertRefused, readError, readOk, serve, within } from './served.ts';

const URL = '/v1/completions';
const request = { model: 'base', prompt: 'a', max_tokens: 3 };

/** Returns a request whose schema takes tens of milliseconds to compile. */
function slow(name: string) {
  const values = { enum: Array.from({ length: 32 }, (_, i) => `v ${i} of ${name}`) };
  const names = Array.from({ length: 60 }, (_, i) => `name_${i}`);
  const properties = Object.fromEntries(names.map((property) => [property, values]));
  return { ...request, json_schema: { type: 'object', properties, required: names } };
}

/** How many constraints the processes of this server have compiled. */
let compiled = 0;
subscribe('child_process', (message) => {
  (message as { process: ChildProcess }).process.on('message', (reply: object) => {
    if ('result' in reply) compiled++;
  });
});

test("T15: a tenant's schema does not wait behind those of another tenant, and a known one for none", async () => {
  const { ask } = serveKeyed({ tenants: { a: {}, b: {} } });
  await readOk(await ask('a', URL, slow('known')));
  let answered = 0;
  const others = ['1', '2', '3', '4', '5'].map(async (name) => {
    await readOk(await ask('a', URL, slow(name)));
    answered++;
  });
  await readOk(await ask('b', URL, slow('known')));
  assert.equal(answered, 0);
  await readOk(await ask('b', URL, slow('b')));
  assert.ok(answered <= 2, `${answered} of the other tenant's were first`);
  await Promise.all(others);
});

test('T14: a tenant with too many requests whose schemas wait is refused at once, and another is answered', async () => {
  const admission = { maxWaiting: 4, maxWaitingPerTenant: 2 };
  const { ask } = serveKeyed({ tenants: { a: {}, b: {} }, slotCount: 1, admission });
  let answered = 0;
  const waiting = ['6', '7', '8'].map(async (name) => {
    await readOk(await ask('a', URL, slow(name)));
    answered++;
  });
  const refused = await ask('a', URL, slow('9'));
  assert.equal((await readError(refused)).code, 'rate_limit_exceeded');
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  await readOk(await ask('b', URL, request));
  assert.equal(answered, 0);
  await Promise.all(waiting);
});

test('F05: a request whose time ends while its schema waits is answered then, and its schema is not compiled', async () => {
  const { post } = serve();
  const before = compiled;
  let answered = 0;
  const others = Array.from({ length: 12 }, async (_, i) => {
    await readOk(await post(URL, slow(`other ${i}`), within(60_000)));
    answered++;
  });
  await assertRefused(await post(URL, slow('late'), within(50)), { code: 'deadline_exceeded' });
  assert.ok(answered < others.length, 'it has waited for all others');
  await Promise.all(others);
  await readOk(await post(URL, slow('last'), within(60_000)));
  assert.equal(compiled - before, others.length + 1);
});

test('equal schemas of concurrent requests are compiled once, for all their choices', async () => {
  const { post } = serve();
  const before = compiled;
  const bodies = Array.from({ length: 4 }, () => ({ ...slow('equal'), n: 2 }));
  await Promise.all(bodies.map(async (body) => readOk(await post(URL, body))));
  assert.equal(compiled - before, 1);
});
