// Everyday questions: SmolLM2's answers must end on their own with the default sampling parameters.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { ChatCompletion } from '../../src/contracts/openai.ts';
import { ask } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { serveFor } from './program.ts';
import { fetchBase, isLong } from './served.ts';

const NAME = 'smollm2-135m-instruct-q4';
const MAX_TOKENS = 250;
/** 84 were measured with the penalty of the catalogue. */
const MIN_ENDED = 80;
const AT_ONCE = 16;

const base = isLong ? await fetchBase() : { reason: 'LORIKEET_E2E_LONG is not set' };
const skip = 'reason' in base ? base.reason : false;
const home = temporaryFolder();

test('most answers to everyday questions end by themselves', { skip }, async (t) => {
  assert.ok('dir' in base);
  mkdirSync(path.join(home, 'models'));
  symlinkSync(base.dir, path.join(home, 'models', NAME));
  const server = await serveFor(t, ['--model', NAME, '--slots', String(AT_ONCE)], home);
  const file = path.join(import.meta.dirname, 'data', 'everyday-questions.txt');
  const questions = readFileSync(file, 'utf8').trim().split('\n');
  assert.equal(questions.length, 100);
  const endless: string[] = [];
  const waiting = questions.entries();
  const askInTurn = async () => {
    for (const [i, content] of waiting) {
      const messages = [{ role: 'user', content }];
      const body = { model: 'base', messages, max_tokens: MAX_TOKENS, seed: i + 1 };
      const { choices } = await ask<ChatCompletion>(`${server.url}/v1/chat/completions`, body);
      if (choices[0]!.finish_reason !== 'stop') endless.push(content);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, askInTurn));
  assert.ok(
    endless.length <= 100 - MIN_ENDED,
    `${endless.length} did not end: ${endless.join(' ')}`,
  );
});
