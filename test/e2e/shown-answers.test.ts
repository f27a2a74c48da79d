// The answers that README and the documents show, asked of a real server. Each token must win by more than a nat over every other,
// so that no CPU and no form of the weights changes it. LORIKEET_E2E_LONG asks in all forms, with and without drafts.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { postJson } from '../api.ts';
import { answerOf, type Example, examplesOf, listPages } from './documents.ts';
import { type Serving, serveFor } from './program.ts';
import { fetchBase, isLong, preparedHome } from './served.ts';

const MARGIN_NATS = 1;
/** SmolLM2's `<|im_end|>`, which logprobs leave out. */
const END_TOKEN = 2;
/** Adapters of other names are trained on a page: the tests of README and the tutorial ask them. */
const MODELS = ['base', ...readdirSync('models/demo')];

const examples = listPages().flatMap(examplesOf);
const asked = examples.filter(
  ({ body, answer }) => answer !== undefined && MODELS.includes(String(body['model'])),
);

const FORMS = [
  ['int8', []],
  ['f32', ['--weights', 'f32']],
] as const;
const SERVERS: readonly (readonly [form: string, flags: readonly string[]])[] = isLong
  ? FORMS.flatMap(([form, flags]) =>
      ['on', 'off'].map((drafts) => [form, [...flags, '--drafts', drafts]] as const),
    )
  : [['default', []]];

const base = await fetchBase();
const home = 'dir' in base ? await preparedHome(base.dir) : '';

test('a request with temperature 0 shows its answer, and one with an answer has temperature 0', () => {
  for (const { page, body, answer } of examples) {
    assert.equal(
      answer !== undefined,
      body['temperature'] === 0,
      `${page}: ${JSON.stringify(body)}`,
    );
  }
  const pages = new Set(asked.map(({ page }) => path.basename(page, '.md')));
  for (const page of ['README', 'chat', 'completions', 'structured-outputs', 'tools']) {
    assert.ok(pages.has(page), page);
  }
});

for (const [form, flags] of SERVERS) {
  test(`the documents' answers: ${[form, ...flags].join(' ')}`, async (t) => {
    if ('reason' in base) return t.skip(base.reason);
    const server = await serveFor(t, ['--model', base.dir, ...flags], home);
    for (const example of asked) await checkAnswer(server, example);
  });
}

/** Asks once as the page does, and once for each of the answer's tokens with that token made less likely. */
async function checkAnswer({ url }: Serving, { page, route, body, answer }: Example) {
  const ask = async (changes: Record<string, unknown>) => {
    const response = await postJson(`${url}${route}`, { ...body, ...changes });
    const text = await response.text();
    assert.equal(response.status, 200, `${page}: ${text}`);
    return JSON.parse(text);
  };
  const logprobs = route === '/v1/completions' ? 0 : true;
  const response = await ask({ logprobs, return_tokens_as_token_ids: true });
  assert.equal(answerOf(response), answer, page);
  const { tokens, content } = response.choices[0].logprobs;
  const names: string[] = tokens ?? content.map(({ token }: { token: string }) => token);
  const ids = new Set([END_TOKEN, ...names.map((name) => Number(name.replace('token_id:', '')))]);
  await Promise.all(
    Array.from(ids, async (id) => {
      const other = answerOf(await ask({ logit_bias: { [id]: -MARGIN_NATS } }));
      assert.equal(other, answer, `${page}: token ${id} wins by less than ${MARGIN_NATS} nat`);
    }),
  );
}
