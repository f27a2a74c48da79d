// The answer that README shows, in every form of the weights and with drafts on and off. Each token must win clearly, so that no
// CPU changes it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { ChatCompletion } from '../../src/contracts/openai.ts';
import { postJson } from '../api.ts';
import { canServe } from '../default-serving.ts';
import { temporaryFolder } from '../fixtures.ts';
import { startServing } from './program.ts';
import { fetchBase } from './served.ts';

/** In nats, between the best token and the second. */
const MIN_MARGIN = 1;

const base = await fetchBase();
const home = temporaryFolder();
const readme = readFileSync('README.md', 'utf8');
const question = /"model": "intent",[\s\S]*?"content": "([^"]+)"/.exec(readme)?.[1];
const answer = /The response contains `([^`]+)`/.exec(readme)?.[1];

/** `rows` comes first: it builds files with both forms. */
const FORMS = [
  ['rows', ['--int8-scales', 'rows']],
  ['mixed', ['--int8-scales', 'mixed', '--drafts', 'off']],
  ['blocks', ['--int8-scales', 'blocks']],
  ['f32', ['--weights', 'f32']],
] as const;

for (const [form, options] of FORMS) {
  test(`README's demo answers as it says: ${form}`, async (t) => {
    if ('reason' in base) return t.skip(base.reason);
    if (form !== 'f32' && !canServe(form)) return t.skip('this CPU has neither VNNI nor AMX');
    const server = await startServing(['--model', base.dir, ...options], home);
    t.after(() => server.stop());
    const response = await postJson(`${server.url}/v1/chat/completions`, {
      model: 'intent',
      temperature: 0,
      logprobs: true,
      top_logprobs: 2,
      messages: [{ role: 'user', content: question }],
    });
    const { choices } = (await response.json()) as ChatCompletion;
    assert.equal(choices[0]!.message.content, answer);
    for (const { token, top_logprobs: top } of choices[0]!.logprobs!.content!) {
      const margin = top[0]!.logprob - top[1]!.logprob;
      assert.ok(margin > MIN_MARGIN, `${token}: ${margin}`);
    }
  });
}
