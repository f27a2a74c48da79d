// Long prompts are encoded in a process of their own, which gives the tokens that the server would have found, and leaves the
// event loop to others meanwhile.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { LongPrompts } from '../../src/tools/long-prompts.ts';
import { createToolTemplate } from '../../src/tools/tool-template.ts';
import { serveKeyed } from './keyed.ts';
import { assertRefused, createByteTokenizer, readError, readOk, serve, within } from './served.ts';

const DIRECTORY = 'models/toy';
const PROSE = 'The café has 1,234 chairs; naïve guests — 😀 — sit <|im_end|> on them. ';
const TEXTS: Record<string, string> = {
  prose: PROSE.repeat(400),
  'one letter': 'a'.repeat(200_000),
  spaces: ' '.repeat(100_000),
  emoji: '👩‍👩‍👧'.repeat(5_000),
  'combining marks': 'é̂̃'.repeat(10_000),
};
const TOOL = {
  type: 'function',
  function: { name: 'find', description: 'Finds.', parameters: { type: 'object' } },
};

const tokenizer = (await loadTokenizer(DIRECTORY))!;
const language = { tokenizer, chatTemplate: createToolTemplate(tokenizer) };
const options = { ...language, maxSeqLength: 65_536 };
const beside = serve({ ...options, longPrompts: new LongPrompts({ directory: DIRECTORY }) });
const onLoop = serve(options);

async function tokensOf({ post }: typeof beside, body: object): Promise<number[]> {
  return (await readOk<{ tokens: number[] }>(await post('/tokenize', body))).tokens;
}

describe('T13: a long prompt has the tokens that it has on the loop:', () => {
  for (const [name, prompt] of Object.entries(TEXTS)) {
    test(name, async () => {
      const tokens = await tokensOf(beside, { prompt });
      assert.ok(tokens.length > 0);
      assert.deepEqual(tokens, await tokensOf(onLoop, { prompt }));
    });
  }

  test('a conversation of many messages, with a tool', async () => {
    const messages = Array.from({ length: 1_000 }, (_, i) => {
      return { role: i % 2 ? 'assistant' : 'user', content: `${i}: ${PROSE.slice(0, 40)}` };
    });
    const body = { messages, tools: [TOOL], add_generation_prompt: true };
    assert.deepEqual(await tokensOf(beside, body), await tokensOf(onLoop, body));
  });
});

test('T13: the event loop is free while a long prompt is encoded', async () => {
  const prompt = TEXTS['one letter']!.repeat(4);
  const startedAt = performance.now();
  tokenizer.encode(prompt, { specials: false });
  const onLoopMs = performance.now() - startedAt;
  let [lastAt, longestMs] = [performance.now(), 0];
  const timer = setInterval(() => {
    const now = performance.now();
    longestMs = Math.max(longestMs, now - lastAt);
    lastAt = now;
  }, 1);
  after(() => clearInterval(timer));
  const tokens = await new LongPrompts({ directory: DIRECTORY }).encode(prompt, { affixes: false });
  assert.ok(tokens.length > 100_000);
  assert.ok(longestMs < onLoopMs / 2, `${longestMs} ms of ${onLoopMs} ms`);
});

test("a long prompt has the tokens of its adapter, and the base's next one does not", async () => {
  const plain = { special: false, lstrip: false, rstrip: false };
  const added = { tokens: [{ id: tokenizer.vocabSize, content: 'new word', ...plain }] };
  const text = 'a new word '.repeat(2000);
  const ofBase = new LongPrompts({ directory: DIRECTORY });
  const own = ofBase.extended(added);
  const options = { affixes: false };
  const expected = tokenizer.extended(added).encode(text, { specials: false });
  assert.ok(expected.includes(tokenizer.vocabSize));
  assert.deepEqual(await own.encode(text, options), expected);
  assert.deepEqual(await ofBase.encode(text, options), tokenizer.encode(text, { specials: false }));
  const messages = [{ role: 'user', content: text }];
  assert.ok(
    (await own.render(messages, { addGenerationPrompt: true })).includes(tokenizer.vocabSize),
  );
});

test('a long conversation that the template rejects is refused by its field', async () => {
  const messages = [{ role: 'user', content: 'a'.repeat(20_000) }];
  const body = { messages, chat_template_kwargs: { messages: 'x' } };
  const [refusal, expected] = [
    await beside.post('/tokenize', body),
    await onLoop.post('/tokenize', body),
  ];
  assert.equal(refusal.status, 400);
  assert.deepEqual(await readError(refusal), await readError(expected));
});

for (const [path, body, param] of [
  ['/v1/completions', (text: string) => ({ prompt: text }), 'prompt'],
  ['/v1/embeddings', (text: string) => ({ input: text }), 'input'],
  ['/tokenize', (text: string) => ({ prompt: text }), 'prompt'],
  [
    '/v1/chat/completions',
    (text: string) => ({ messages: [{ role: 'user', content: text }] }),
    'messages',
  ],
] as const) {
  test(`F35: a text at which the tokenizer fails gets 400 from ${path}, and the server lives`, async () => {
    const tokenizer = createByteTokenizer();
    const failAt = <T>(text: string, result: () => T): T => {
      if (text.includes('boom')) throw new RangeError('at position 3');
      return result();
    };
    const failing: Tokenizer = Object.create(tokenizer, {
      encode: {
        value: (...of: Parameters<Tokenizer['encode']>) =>
          failAt(of[0], () => tokenizer.encode(...of)),
      },
    });
    const template = createToolTemplate(tokenizer)!;
    const chatTemplate: typeof template = Object.create(template, {
      render: {
        value: (...of: Parameters<typeof template.render>) =>
          failAt(JSON.stringify(of[0]), () => template.render(...of)),
      },
    });
    const { post, logged } = serve({ tokenizer: failing, chatTemplate });
    const request = { model: 'base' };
    const answer = await post(path, { ...request, ...body('boom') });
    const { message } = await assertRefused(answer, { status: 400, param });
    assert.equal(message, `${param}: this text cannot be tokenized`);
    assert.ok(logged.some((line) => line.includes('the tokenizer failed')));
    assert.equal((await post(path, { ...request, ...body('a\ud800') })).status, 400);
    assert.equal((await post(path, { ...request, ...body('fine') })).status, 200);
  });
}

test('F35: without its files the process fails each prompt, and the server lives', async () => {
  const lost = serve({ ...options, longPrompts: new LongPrompts({ directory: '/nowhere' }) });
  const answer = await lost.post('/tokenize', { prompt: 'a'.repeat(20_000) });
  assert.equal((await readError(answer)).code, 'overloaded');
  assert.equal((await lost.post('/tokenize', { prompt: 'a' })).status, 200);
});

test("T15: a tenant's long prompt does not wait behind those of another tenant", async () => {
  const longPrompts = new LongPrompts({ directory: DIRECTORY });
  const { ask } = serveKeyed({ ...options, longPrompts, tenants: { a: {}, b: {} } });
  const body = { prompt: TEXTS['prose'] };
  let answered = 0;
  const others = Array.from({ length: 30 }, async () => {
    await readOk(await ask('a', '/tokenize', body));
    answered++;
  });
  await readOk(await ask('b', '/tokenize', body));
  assert.ok(answered <= 3, `${answered} of the other tenant's were first`);
  await Promise.all(others);
});

test('F05: a request whose time ends while its prompt waits is answered then', async () => {
  const served = serve({ ...options, longPrompts: new LongPrompts({ directory: DIRECTORY }) });
  let answered = 0;
  const others = Array.from({ length: 8 }, async () => {
    await readOk(await served.post('/tokenize', { prompt: TEXTS['one letter'] }, within(60_000)));
    answered++;
  });
  const body = { model: 'base', prompt: TEXTS['prose'], max_tokens: 1 };
  const late = await served.post('/v1/completions', body, within(100));
  assert.equal((await readError(late)).code, 'deadline_exceeded');
  assert.ok(answered < 8, 'it has waited for all others');
  await Promise.all(others);
});
