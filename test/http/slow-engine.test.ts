// A server whose engine becomes twenty times slower under a steady load, and recovers. In virtual time.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { settled } from '../simulation/clock.ts';
import { assertRefused, readError, serve, within } from './served.ts';

const STEP_MS = 10;
const SLOWER = 20;
/** Below the capacity of the normal engine, and several times that of the slow one. */
const INTERVAL_MS = 100;
/** Every other client waits for the shorter time only, which the slow engine needs for two answers. */
const TIMEOUTS_MS = [60_000, 4_000];
const MAX_WAITING = 8;

interface Answer {
  readonly timeoutMs: number;
  /** `answered`, or the code of the error. */
  readonly code: string | null;
  readonly retryAfterS: number;
  readonly tookMs: number;
}

/** A server on a clock that only `pass` moves. */
function serveSlowly(t: TestContext) {
  let nowMs = 0;
  t.mock.timers.enable({ apis: ['setTimeout'] });
  t.mock.method(performance, 'now', () => nowMs);
  const served = serve({ admission: { maxWaiting: MAX_WAITING } });
  const pace = { stepMs: STEP_MS };
  served.engine.beforeRun = () => new Promise((resolve) => setTimeout(resolve, pace.stepMs));

  const ask = async (_: unknown, i: number): Promise<Answer> => {
    const askedAtMs = nowMs;
    const timeoutMs = TIMEOUTS_MS[i % TIMEOUTS_MS.length]!;
    const body = { model: 'base', prompt: 'a', max_tokens: 8, ignore_eos: true };
    const response = await served.post('/v1/completions', body, within(timeoutMs));
    const { status } = response;
    const code = status === 200 ? 'answered' : (await readError(response)).code;
    const retryAfterS = Number(response.headers.get('retry-after'));
    return { timeoutMs, code, retryAfterS, tookMs: nowMs - askedAtMs };
  };
  const pass = async (ms: number) => {
    for (const endMs = nowMs + ms; nowMs < endMs; ) {
      await settled();
      nowMs += STEP_MS;
      t.mock.timers.tick(STEP_MS);
    }
    await settled();
  };
  /** Lets time pass until all have come. */
  const allOf = async (answers: readonly Promise<Answer>[]) => {
    let all: Answer[] | undefined;
    void Promise.all(answers).then((come) => (all = come));
    while (!all) await pass(STEP_MS);
    return all;
  };
  /** Asks at a steady rate, and returns the answers when all have come. */
  const load = async (ms: number): Promise<Answer[]> => {
    const answers: Promise<Answer>[] = [];
    for (let i = 0; i < ms / INTERVAL_MS; i++) {
      answers.push(ask(undefined, i));
      await pass(INTERVAL_MS);
      const { running, waiting, slotCount } = await served.client.stats();
      assert.ok(running + waiting <= slotCount + MAX_WAITING, `${running} run and ${waiting} wait`);
    }
    return allOf(answers);
  };
  /** The seconds after which the last of a crowd shall come again. */
  const crowd = async (): Promise<number> => {
    const answers = Array.from({ length: 4 * MAX_WAITING }, ask);
    const refused = (await allOf(answers)).filter(({ code }) => code === 'overloaded');
    assert.ok(refused.length > 0);
    return refused.at(-1)!.retryAfterS;
  };
  return { served, pace, load, crowd, pass };
}

test('F05: with an engine that is 20 times slower requests end at their deadlines, fewer are admitted, and it recovers', async (t) => {
  const { served, pace, load, crowd } = serveSlowly(t);
  const isAnswered = ({ code }: Answer) => code === 'answered';
  assert.ok((await load(10_000)).every(isAnswered));
  const normalRetryS = await crowd();

  pace.stepMs *= SLOWER;
  const slow = await load(60_000);
  const of = (wanted: string) => slow.filter(({ code }) => code === wanted);
  const [answered, late, refused] = [of('answered'), of('deadline_exceeded'), of('overloaded')];
  t.diagnostic(`${answered.length} answered, ${late.length} late, ${refused.length} refused`);
  assert.equal(answered.length + late.length + refused.length, slow.length);
  assert.ok(answered.length > slow.length / SLOWER);
  assert.ok(late.length > 0 && late.every(({ timeoutMs }) => timeoutMs === TIMEOUTS_MS[1]));
  for (const { tookMs, timeoutMs } of late) assert.ok(tookMs <= timeoutMs, `${tookMs} ms`);
  assert.ok(refused.length > slow.length / 2);
  for (const { tookMs } of refused) assert.equal(tookMs, 0);
  assert.equal(refused[0]!.retryAfterS, 1, 'the pace is still that of the normal engine');
  assert.ok(refused.at(-1)!.retryAfterS > normalRetryS);

  pace.stepMs = STEP_MS;
  assert.ok((await load(10_000)).every(isAnswered));
  assert.equal(await crowd(), normalRetryS);
  const failures = served.logged.filter((line) => JSON.parse(line).level >= 50);
  assert.deepEqual(failures, []);
});

test('T14: a request that could not be answered within its time is refused at once, and others are answered', async (t) => {
  const { served, load, pass } = serveSlowly(t);
  await load(3_000);
  const body = { model: 'base', prompt: 'a', max_tokens: 8, ignore_eos: true };
  const ask = (timeoutMs: number, changes: object = {}) =>
    served.post('/v1/completions', { ...body, ...changes }, within(timeoutMs));
  // Four run and six wait. A slot becomes free every 22 ms, and an answer took 90 ms when it was alone.
  const before = Array.from({ length: 10 }, () => ask(60_000));
  await settled();
  const refusals = [
    await ask(100, { max_tokens: 'a body that nobody reads' }),
    await ask(200),
    await ask(200, { stream: true }),
  ];
  for (const refusal of refusals) {
    assert.equal(refusal.headers.get('retry-after'), '1');
    const message =
      /: an answer would take about 1 s, and the request's time limit is [12]00 ms\. /;
    await assertRefused(refusal, { status: 503, code: 'overloaded', message });
  }
  const patient = ask(1_000);
  await pass(1_000);
  assert.equal((await patient).status, 200);
  for (const answer of await Promise.all(before)) assert.equal(answer.status, 200);
  assert.equal((await Promise.all([ask(100), pass(1_000)]))[0].status, 200, 'a slot is free');
});
