// Banned words in a real server with the toy base: whatever word of an answer is banned, it is missing then, streamed or not, alone
// or in a batch, with or without drafts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Completion } from '../../src/contracts/openai.ts';
import { ask } from '../api.ts';
import { serveFor } from './program.ts';

const PROMPTS = ['Alice was', 'The Queen said', '"I should think', 'Once upon a time', 'They all'];

for (const drafts of ['off', 'ngram'])
  test(`a word of an answer is banned with or without its leading space, drafts: ${drafts}`, async (t) => {
    const server = await serveFor(t, ['--model', 'models/toy', '--drafts', drafts]);
    const complete = async (prompt: string, fields: object = {}) => {
      const body = { model: 'base', prompt, max_tokens: 60, temperature: 0, ...fields };
      const answer = await ask<Completion>(`${server.url}/v1/completions`, body);
      return answer.choices.map(({ text }) => text);
    };
    let banned = 0;
    await Promise.all(
      PROMPTS.map(async (prompt) => {
        const [plain] = await complete(prompt);
        const words = [...new Set(plain!.match(/\b[a-z]+\b/gi))];
        assert.ok(words.length > 5, plain);
        for (const word of words.slice(0, 8)) {
          const found = new RegExp(`\\b${word}\\b`);
          for (const spelling of [word, ` ${word}`]) {
            const [text] = await complete(prompt, { bad_words: [spelling] });
            assert.doesNotMatch(text!, found);
            banned++;
          }
        }
        const all = { bad_words: words, temperature: 1, n: 3, seed: 5 };
        for (const text of await complete(prompt, all)) {
          assert.doesNotMatch(text, new RegExp(`\\b(${words.join('|')})\\b`));
        }
      }),
    );
    t.diagnostic(`${banned} answers without a word`);
  });
