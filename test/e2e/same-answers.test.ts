// A completion depends on its request alone: not on the other sequences of a step, on their adapters, or on what is cached.
// Without drafts this holds, because no sum of the graph depends on the number of rows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALIBRATION_TEXT } from '../../src/calibration/text.ts';
import { ask } from '../api.ts';
import { serveFor } from './program.ts';
import { fetchBase, isLong, preparedHome } from './served.ts';

const [COUNT, TOKENS] = isLong ? [200, 64] : [12, 10];
const TOGETHER = 16;
/** The models of the server: the base and the demo adapters, which adapt different linears. */
const MODELS = ['base', 'intent', 'wordnet', 'zen'];
/** In characters, about four per token. The longest prompts take several chunks. */
const LENGTHS = [20, 61, 150, 400, 1041, 2300];

interface Request {
  readonly model: string;
  readonly prompt: string;
}

const requests = Array.from({ length: COUNT }, (_, i): Request => {
  const start = (i * 211) % 5000;
  const prompt = CALIBRATION_TEXT.slice(start, start + LENGTHS[i % LENGTHS.length]! + i);
  return { model: MODELS[i % MODELS.length]!, prompt };
});

const base = await fetchBase();
const home = 'dir' in base ? await preparedHome(base.dir) : '';

test('completions are the same alone, again, cached and in any company', async (t) => {
  if ('reason' in base) return t.skip(base.reason);
  const options = ['--model', base.dir, '--drafts', 'off'];
  const server = await serveFor(t, options, home);
  const completeAll = (together: number, options: object, order = requests) =>
    inTurns(together, order, (request) => complete(server.url, { ...request, ...options }));
  const uncached = { cache_prompt: false };
  const alone = await completeAll(1, uncached);
  assert.ok(new Set(alone.values()).size > COUNT / 2, 'the completions differ from each other');
  const sorted = requests.toSorted((a, b) => a.model.localeCompare(b.model));
  const others: Record<string, ReadonlyMap<Request, string>> = {
    'among others': await completeAll(TOGETHER, uncached),
    'among others, most with the same adapter': await completeAll(TOGETHER, uncached, sorted),
    'into the cache': await completeAll(1, {}),
    'from the cache, among others': await completeAll(TOGETHER, {}, requests.toReversed()),
  };
  for (const [how, completions] of Object.entries(others)) {
    const changed = requests.filter((one) => completions.get(one) !== alone.get(one));
    assert.deepEqual(
      changed.map((one) => [one.model, one.prompt.length]),
      [],
      `${changed.length} of ${COUNT} completions changed ${how}`,
    );
  }
});

/** Runs the requests in order, `together` at a time. */
async function inTurns<T>(
  together: number,
  order: readonly Request[],
  run: (request: Request) => Promise<T>,
): Promise<ReadonlyMap<Request, T>> {
  const results = new Map<Request, T>();
  const waiting = order.values();
  const worker = async () => {
    for (const request of waiting) results.set(request, await run(request));
  };
  await Promise.all(Array.from({ length: together }, worker));
  return results;
}

async function complete(url: string, body: object): Promise<string> {
  const whole = { max_tokens: TOKENS, temperature: 0, ignore_eos: true, ...body };
  const { choices } = await ask<{ choices: { text: string }[] }>(`${url}/v1/completions`, whole);
  return choices[0]!.text;
}
