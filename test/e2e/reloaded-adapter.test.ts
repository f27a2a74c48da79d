// A name under which a trainer loads one adapter after the other, while others ask for it: each response has the weights that
// its header names, from its first token to its last, and nothing of a prefix that other weights computed.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import type { Completion } from '../../src/contracts/openai.ts';
import { postJson } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { serveFor } from './program.ts';
import { writeToyAdapter } from './toy-adapter.ts';

/** Long enough for two blocks of the prefix cache. */
const PROMPT = Array.from({ length: 40 }, (_, i) => 20 + ((7 * i) % 60));
const SEEDS = [1, 2];
const CLIENTS = 3;
const MIN_RELOADS = 4;

interface Answer {
  readonly digest: string;
  readonly tokenIds: readonly number[];
  readonly cachedTokens: number;
}

test('a name that is reloaded in place never mixes weights, and never reuses a prefix of the old ones', async (t) => {
  const root = temporaryFolder(t);
  const args = ['--model', 'models/toy', '--weights', 'f32', '--loadable-adapters', root];
  const server = await serveFor(t, args);

  async function load(name: string, folder: string): Promise<void> {
    const body = { lora_name: name, lora_path: folder, load_inplace: true };
    const response = await postJson(`${server.url}/v1/load_lora_adapter`, body);
    assert.equal(response.status, 200, await response.text());
  }
  async function ask(model: string, rest: object = {}): Promise<Answer> {
    const sampling = { temperature: 0, ignore_eos: true, max_tokens: 60, return_token_ids: true };
    const body = { model, prompt: PROMPT, ...sampling, ...rest };
    const response = await postJson(`${server.url}/v1/completions`, body);
    assert.equal(response.status, 200, await response.clone().text());
    const { choices, usage } = (await response.json()) as Completion;
    return {
      digest: response.headers.get('x-lorikeet-adapter')!,
      tokenIds: choices[0]!.token_ids!,
      cachedTokens: usage.prompt_tokens_details.cached_tokens,
    };
  }

  const expected = new Map<string, readonly number[]>();
  for (const seed of SEEDS) {
    writeToyAdapter(path.join(root, `alone-${seed}`), seed);
    await load(`alone-${seed}`, `alone-${seed}`);
    const { digest, tokenIds } = await ask(`alone-${seed}`, { cache_prompt: false });
    expected.set(digest, tokenIds);
  }
  assert.equal(new Set([...expected.values()].map(String)).size, SEEDS.length);

  await load('policy', `alone-${SEEDS[0]}`);
  let reloads = 0;
  let overlaps = 0;
  let cached = 0;
  const isDone = () => reloads >= MIN_RELOADS && overlaps > 0 && cached > 0;
  const client = async () => {
    while (!isDone()) {
      const before = reloads;
      const { digest, tokenIds, cachedTokens } = await ask('policy');
      assert.deepEqual(tokenIds, expected.get(digest));
      if (reloads > before) overlaps++;
      if (cachedTokens > 0) cached++;
    }
  };
  const trainer = async () => {
    while (!isDone()) {
      await postJson(`${server.url}/pause?mode=keep`, {});
      await load('policy', `alone-${SEEDS[(reloads + 1) % SEEDS.length]}`);
      await postJson(`${server.url}/resume`, {});
      reloads++;
      const { digest, tokenIds } = await ask('policy');
      assert.equal(digest, [...expected.keys()][reloads % SEEDS.length]);
      assert.deepEqual(tokenIds, expected.get(digest));
    }
  };
  await Promise.all([trainer(), ...Array.from({ length: CLIENTS }, client)]);
});
