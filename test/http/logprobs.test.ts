// Scores of a prompt are written as JSON directly, because the plain way takes five times as long.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TokenLogprob } from '../../src/contracts/generation.ts';
import { createTokenNames, type TokenNames, writePromptLogprobs } from '../../src/http/logprobs.ts';
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

test('scores of a prompt are those that the plain way writes', () => {
  const names = createTokenNames(createByteTokenizer(), { byId: false });
  const id = fc.nat(300); // bytes that are no text, control tokens and tokens without a name are among them
  const logprob = fc.double({ max: 0 });
  const scored = fc.record({
    ...{ id, logprob, rank: fc.nat(300) },
    top: fc.uniqueArray(fc.record({ id, logprob }), { maxLength: 20, selector: (top) => top.id }),
  });
  fc.assert(
    fc.property(fc.array(scored, { maxLength: 5 }), (logprobs) => {
      const plain = JSON.parse(JSON.stringify(toPromptLogprobs(logprobs, names)));
      assert.deepEqual(JSON.parse(writePromptLogprobs(logprobs, names)), plain);
    }),
  );
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
