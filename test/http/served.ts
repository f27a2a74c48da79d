// The whole server in one process around a scripted engine: real app, registry, tokenizer, scheduler and client.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { FolderAdapters } from '../../adapters/registry/folder-registry.ts';
import { Registry } from '../../adapters/registry/registry.ts';
import { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import type { RunLine } from '../../src/batches/context.ts';
import { createLog } from '../../src/common/log.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import type { ErrorEnvelope } from '../../src/contracts/openai.ts';
import type { AdmissionLimits } from '../../src/engine-client/admission.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { createApp } from '../../src/http/app.ts';
import { type AppOptions, createDeps, type LineUsers } from '../../src/http/deps.ts';
import { createLineApp } from '../../src/http/lines.ts';
import { type FetchApp, type ServerOptions, startServer } from '../../src/http/wire/server.ts';
import type { StepEngine, StepLoopOptions } from '../../src/scheduler/options.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { createTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { createToolTemplate } from '../../src/tools/tool-template.ts';
import { weightsNamed } from '../adapters/sample.ts';
import { temporaryFolder } from '../fixtures.ts';
import { FakeLeases } from '../scheduler/fake-engine.ts';
import { END, type Reply, ScriptedEngine, VOCAB_SIZE } from './scripted-engine.ts';

/** A byte is a token; ids as the byte's value. Three control tokens follow. */
export function createByteTokenizer(chatTemplate = CHAT_TEMPLATE): Tokenizer {
  const bytes = byteAlphabet();
  const controls = ['<|im_start|>', '<|im_end|>', '<|end|>'];
  return createTokenizer(
    {
      added_tokens: controls.map((content, i) => ({ id: 256 + i, content, special: true })),
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
      post_processor: null,
      decoder: { type: 'ByteLevel' },
      model: {
        type: 'BPE',
        vocab: Object.fromEntries(bytes.map((char, byte) => [char, byte])),
        merges: [],
      },
    },
    { eos_token: '<|end|>' },
    { chatTemplate },
  );
}

const CHAT_TEMPLATE =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** GPT-2's printable stand-in for each byte. */
function byteAlphabet(): string[] {
  const isPrintable = (b: number) => (b > 32 && b < 127) || (b > 160 && b < 256 && b !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(isPrintable(b) ? b : next++));
}

/** A prompt as text; control tokens are shown as `|`. */
function shownPrompt(promptIds: readonly number[]): string {
  return promptIds.map((id) => (id < 256 ? String.fromCharCode(id) : '|')).join('');
}

/** A reply that is always the same, and the prompts that it got, as `shownPrompt` shows them. */
export function recordPrompts(answer = 'Hello') {
  const prompts: string[] = [];
  const reply: Reply = (promptIds) => {
    prompts.push(shownPrompt(promptIds));
    return utf8(answer);
  };
  return { prompts, reply };
}

/** The base of served apps. */
export const TOY = { id: 'toy', names: [], digest: 'b'.repeat(64) };

export const utf8 = (text: string): number[] => [...Buffer.from(text)];

export interface ServedOptions extends Partial<AppOptions & LineUsers> {
  reply?: Reply;
  /** Runs instead of the scripted engine. Its vocabulary has `VOCAB_SIZE` tokens. */
  modelEngine?: StepEngine;
  adapters?: readonly string[];
  scheduler?: StepLoopOptions['limits'];
  admission?: AdmissionLimits;
  createProposer?: StepLoopOptions['createProposer'];
  slotCount?: number;
  maxSeqLength?: number;
}

export interface Served {
  app: ReturnType<typeof createApp>;
  client: AppOptions['client'];
  engine: ScriptedEngine;
  leases: FakeLeases;
  /** Answers the lines of batches. */
  answerLine: RunLine;
  /** Lines that were logged. */
  logged: string[];
  post(path: string, body: unknown, init?: Init): Promise<Response>;
}

/** What a request has besides its body. Headers are added to those of JSON. */
export type Init = Omit<RequestInit, 'headers'> & { headers?: Record<string, string> };

/** The time limit that a request names. */
export const within = (ms: number | string): Init => ({
  headers: { 'x-request-timeout-ms': String(ms) },
});

export function serve(options: ServedOptions = {}): Served {
  const {
    reply = () => utf8('Hello, world'),
    adapters = [],
    slotCount = 4,
    maxSeqLength = 256,
    modelEngine,
    ...rest
  } = options;
  const logged: string[] = [];
  const log = createLog('trace', { write: (line: string) => logged.push(line) });
  const engine = new ScriptedEngine(reply, { slotCount, maxSeqLength });
  const leases = new FakeLeases();
  const limits = options.scheduler ? { limits: options.scheduler } : {};
  const { createProposer } = options;
  const stepEngine = modelEngine ?? engine;
  const tokenizer = createByteTokenizer();
  const grammars = new Grammars(tokenizer, VOCAB_SIZE);
  const createMatcher: StepLoopOptions['createMatcher'] = async (...matched) =>
    grammars.createMatcher(...matched);
  const createBan: StepLoopOptions['createBan'] = async (words, added) =>
    grammars.createBan(words, added);
  const create = { createProposer, createMatcher, createBan };
  const loop = new StepLoop({ engine: stepEngine, adapters: leases, ...create, ...limits });
  const client = options.client ?? createInProcessClient(loop, log, options.admission);
  after(() => client.drain(0));
  const appOptions: AppOptions & LineUsers = {
    client,
    registry: new Registry({
      base: TOY,
      local: [new FolderAdapters(writeAdapters(adapters), { baseNames: ['toy'] })],
    }),
    localAdapters: new LocalAdapters(),
    tokenizer,
    chatTemplate: createToolTemplate(tokenizer),
    model: {
      id: TOY.id,
      baseDigest: TOY.digest,
      maxSeqLength: engine.info.maxSeqLength,
      vocabSize: VOCAB_SIZE,
      hiddenSize: 4,
      eosTokenIds: [END],
    },
    log,
    ...rest,
  };
  const deps = createDeps(appOptions);
  const app = createApp(appOptions, deps);
  const answerLine = createLineApp(deps);
  const post = async (url: string, body: unknown, init: Init = {}) =>
    app.request(url, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
      headers: { 'content-type': 'application/json', ...init.headers },
    });
  return { app, client, engine, leases, answerLine, logged, post };
}

function writeAdapters(names: readonly string[]): string {
  const root = temporaryFolder();
  for (const name of names) {
    const folder = path.join(root, name);
    mkdirSync(folder);
    const config = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'], name };
    writeFileSync(path.join(folder, 'adapter_config.json'), JSON.stringify(config));
    writeFileSync(path.join(folder, 'adapter_model.safetensors'), weightsNamed(name));
  }
  return root;
}

/** Listens on a free port until the tests have ended. */
export async function listen(app: FetchApp, options: Partial<ServerOptions> = {}) {
  const server = await startServer(app, { host: '127.0.0.1', port: 0, ...options });
  after(() => server.close(0));
  return server;
}

/** Resolves when the engine has nothing left; the loop makes a step per turn, so it is a bounded number of turns. */
export async function idle({ client, leases }: Served, turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) {
    const { running, waiting } = await client.stats();
    if (running + waiting + leases.held === 0) return;
    await nextTurn();
  }
  assert.fail(`still busy: ${JSON.stringify(await client.stats())}`);
}

/** The body of a status 200; fails with what was answered instead. */
export async function readOk<T>(response: Response): Promise<T> {
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return JSON.parse(text);
}

export async function readError(response: Response): Promise<ErrorEnvelope['error']> {
  const body = (await response.json()) as ErrorEnvelope;
  return body.error;
}

interface Refusal {
  status?: number;
  code?: string;
  param?: string | null;
  message?: RegExp;
}

/** Fails unless the response is an error with these members. Returns the error. */
export async function assertRefused(
  response: Response,
  { message = /./, ...expected }: Refusal,
  what = '',
): Promise<ErrorEnvelope['error']> {
  const error = await readError(response);
  const members = { status: response.status, code: error?.code, param: error?.param };
  const told = `${what} ${response.status} ${JSON.stringify(error)}`;
  assert.deepEqual(members, { ...members, ...expected }, told);
  assert.match(error.message, message, told);
  return error;
}

/** The frames of an event stream: their data, parsed but for `[DONE]`. */
export async function readFrames(response: Response): Promise<unknown[]> {
  const text = await response.text();
  return text
    .split('\n\n')
    .filter((frame) => frame.startsWith('data: '))
    .map((frame) => frame.slice('data: '.length))
    .map((data) => (data === '[DONE]' ? data : JSON.parse(data)));
}

/** The chunks of a generation's stream, which ends with `[DONE]`. */
export async function readChunks<Chunk>(response: Response): Promise<Chunk[]> {
  const frames = await readFrames(response);
  assert.equal(frames.pop(), '[DONE]');
  return frames as Chunk[];
}
