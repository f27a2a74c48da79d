// Scores of a prompt are written as JSON directly, because the plain way takes five times as long.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TokenLogprob } from '../../src/contracts/generation.ts';
import {
  createChatLogprobs,
  createCompletionLogprobs,
  createTokenNames,
  LogprobsText,
  type TokenNames,
  writePromptLogprobs,
} from '../../src/http/dialects/logprobs.ts';
import { createByteTokenizer, serve } from './served.ts';

/** The plain twin. */
function toPromptLogprobs(logprobs: readonly TokenLogprob[], names: TokenNames) {
  const entries = logprobs.map(({ id, logprob, rank = 0, top }) => {
    const alternatives = top.map((other, i) => ({ ...other, rank: i + 1 }));
    return Object.fromEntries(
      [...alternatives, { id, logprob, rank }].map((token) => [
        token.id,
        { logprob: token.logprob, rank: token.rank, decoded_token: names.name(token.id) },
      ]),
    );
  });
  return [null, ...entries];
}

const id = fc.nat(300); // bytes that are no text, control tokens and tokens without a name are among them
const logprob = fc.double({ max: 0 });
const scored = fc.record({
  ...{ id, logprob, rank: fc.nat(300) },
  top: fc.uniqueArray(fc.record({ id, logprob }), { maxLength: 20, selector: (top) => top.id }),
});

test('scores of a prompt are those that the plain way writes', () => {
  const names = createTokenNames(createByteTokenizer(), { byId: false });
  fc.assert(
    fc.property(fc.array(scored, { maxLength: 5 }), (logprobs) => {
      const plain = JSON.parse(JSON.stringify(toPromptLogprobs(logprobs, names)));
      assert.deepEqual(JSON.parse(writePromptLogprobs(logprobs, names)), plain);
    }),
  );
});

test('scores of an answer are the JSON of what a writer gathers', () => {
  const names = createTokenNames(createByteTokenizer(), { byId: false });
  const prompt = fc.option(fc.array(scored, { maxLength: 3 }));
  for (const create of [createChatLogprobs, createCompletionLogprobs]) {
    fc.assert(
      fc.property(prompt, fc.array(scored, { maxLength: 5 }), (echoed, tokens) => {
        const text = new LogprobsText(create(names));
        const ids = [9, ...(echoed ?? []).map((token) => token.id)];
        const repeated = echoed ? { ids, logprobs: echoed } : undefined;
        if (repeated) text.add([], repeated);
        for (const token of tokens) text.add([token]);
        assert.equal(text.toJson().join(''), JSON.stringify(create(names)(tokens, repeated)));
      }),
    );
  }
});

test('scores of whole answers take at most 90 bytes each until they are written', () => {
  const usedBytes = () => {
    gc!();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const tokens = 5000;
  const before = usedBytes();
  const text = new LogprobsText(
    createChatLogprobs(createTokenNames(createByteTokenizer(), { byId: false })),
  );
  for (let i = 0; i < tokens; i++) {
    const top = Array.from({ length: 20 }, (_, k) => ({ id: 32 + k, logprob: -k / 7 }));
    text.add([{ id: 97, logprob: -0.5, top }]);
  }
  const bytes = (usedBytes() - before) / (tokens * 21);
  assert.ok(bytes < 90, `${bytes} bytes`);
  assert.ok(text.toJson().length > tokens);
});

test('the scores of all prompts are bounded, those of a request with as many are written', async () => {
  const served = serve({ limits: { maxPromptLogprobs: 60 } });
  const ask = (promptTokens: number) =>
    served.post('/v1/completions', {
      ...{ model: 'base', max_tokens: 1, prompt_logprobs: 4 },
      prompt: [Array(5).fill(9), Array(promptTokens - 5).fill(9)],
    });
  assert.equal((await ask(12)).status, 200);
  const refused = await ask(13);
  assert.equal(refused.status, 400);
  assert.match(await refused.text(), /are 65 logprobs, and at most 60 are allowed/);
});
