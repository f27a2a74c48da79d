// A server's engine in this process, for programs that generate many completions with an adapter.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CONFIG_FILE, readAdapterFiles, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import type { ServedAdapter } from '../../trainer/commands/eval.ts';
import type { AnswerModel, AnswerRequest } from '../../trainer/evaluation/answers.ts';
import type { CompletionSampler } from '../../trainer/run/reinforcement.ts';
import { ConfigError, ServeError } from '../common/errors.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import {
  type AdapterSource,
  type FinishReason,
  type GenerationRequest,
  GREEDY,
  type SamplingParams,
} from '../contracts/generation.ts';
import { toNumericParams } from '../contracts/sampling-fields.ts';
import { LOCAL_TENANT } from '../contracts/tenant.ts';
import { constraintCompiler } from '../grammar/compiler.ts';
import type { EngineEvent, FromEngine, SequenceId } from '../scheduler/protocol.ts';
import { StepLoop } from '../scheduler/step-loop.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import type { ProgramContext } from './context.ts';
import { createEngineHost } from './engine.ts';
import { engineOptions, prepareBase } from './prepared-base.ts';

/**
 * Runs the work with an engine of the configured base and this adapter. Throws `ConfigError` or `FileError` if they do not fit
 * the machine, `ServeError` for an adapter that cannot be served.
 */
export async function withAnswerModel<T>(
  { files, addedTokens }: Pick<ServedAdapter, 'files' | 'addedTokens'>,
  context: ProgramContext,
  work: (model: AnswerModel) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(path.join(tmpdir(), 'lorikeet-eval-'));
  try {
    await writeFile(path.join(directory, CONFIG_FILE), files.configBytes);
    await writeFile(path.join(directory, WEIGHTS_FILE), files.weightsBytes);
    return await withEngine({ context, addedTokens }, async (engine) => {
      engine.adapter = toSource(files.digest, directory);
      return work(new AnswerEngine(engine, addedTokens));
    });
  } finally {
    await rm(directory, { recursive: true });
  }
}

/**
 * Runs the work with an engine of the configured base that samples completions of an adapter in training. A completion depends on
 * its request alone, so a resumed run samples the same ones.
 */
export function withSampler<T>(
  context: ProgramContext,
  work: (sampler: CompletionSampler) => Promise<T>,
): Promise<T> {
  return withEngine({ context, isInvariant: true }, (engine) => work(new SamplingEngine(engine)));
}

interface EngineUse {
  readonly context: ProgramContext;
  readonly addedTokens?: AddedTokens | undefined;
  readonly isInvariant?: boolean;
}

async function withEngine<T>(
  { context, addedTokens, isInvariant = false }: EngineUse,
  work: (engine: LocalEngine) => Promise<T>,
): Promise<T> {
  const base = await prepareBase(context);
  const { config } = context;
  const host = await createEngineHost(
    {
      engine: engineOptions(base, config),
      artifactDir: base.artifact.dir,
      adapterCacheBytes: base.plan.adapterCacheBytes,
      limits: { prefillChunk: config.prefillChunk },
      isInvariant,
    },
    ({ message }) => context.reporter.notify(message),
  );
  const baseTokenizer = await loadTokenizer(base.artifact.dir);
  const tokenizer = addedTokens ? baseTokenizer?.extended(addedTokens) : baseTokenizer;
  const stopTokenIds = tokenizer?.eosTokenIds ?? base.artifact.config.eosTokenIds;
  return new LocalEngine(new StepLoop(host), stopTokenIds).during(work);
}

function toSource(digest: string, directory: string): AdapterSource {
  return { digest, owner: LOCAL_TENANT.id, parts: [{ digest, directory, weight: 1 }] };
}

interface Completion {
  readonly ids: number[];
  /** Log-probabilities, if the request asks for them. */
  readonly logProbs: number[];
}

interface OpenCompletion extends Completion {
  resolve(completion: Completion & { readonly reason: FinishReason }): void;
  reject(error: unknown): void;
}

type LocalRequest = Omit<GenerationRequest, 'stopTokenIds' | 'prefixScope'>;

/** Generates completions with one adapter in an engine's loop. */
class LocalEngine {
  readonly #loop: StepLoop;
  readonly #stopTokenIds: readonly number[];
  readonly #open = new Map<SequenceId, OpenCompletion>();
  #lastId = 0;
  /** The adapter of the requests from now on. Absent: the base. */
  adapter: AdapterSource | undefined;

  constructor(loop: StepLoop, stopTokenIds: readonly number[]) {
    this.#loop = loop;
    this.#stopTokenIds = stopTokenIds;
  }

  async during<T>(work: (engine: LocalEngine) => Promise<T>): Promise<T> {
    const ended = this.#loop.run((message) => this.#receive(message));
    const result = work(this).finally(() => this.#loop.handle({ type: 'drain', deadlineMs: 0 }));
    await Promise.race([ended, result]);
    await ended;
    return result;
  }

  /** Returns the tokens that fit after a prompt. */
  roomAfter(promptIds: readonly number[]): number {
    return this.#loop.model.maxSeqLength - promptIds.length;
  }

  generate(request: LocalRequest): Promise<Completion & { readonly reason: FinishReason }> {
    const id = ++this.#lastId as SequenceId;
    const { adapter } = this;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { ids: [], logProbs: [], resolve, reject });
      this.#loop.handle({
        type: 'submit',
        id,
        tenant: LOCAL_TENANT,
        ...(adapter && { adapter }),
        request: {
          ...request,
          stopTokenIds: this.#stopTokenIds,
          prefixScope: LOCAL_TENANT.id,
        },
      });
    });
  }

  #receive(message: FromEngine): void {
    if (message.type === 'step') for (const event of message.events) this.#apply(event);
  }

  #apply(event: EngineEvent): void {
    const open = this.#open.get(event.id);
    if (!open) return;
    if (event.type === 'token') {
      open.ids.push(event.tokenId);
      if (event.logprob) open.logProbs.push(event.logprob.logprob);
    }
    if (event.type !== 'finished' && event.type !== 'failed') return;
    this.#open.delete(event.id);
    const { ids, logProbs } = open;
    if (event.type === 'finished') open.resolve({ ids, logProbs, reason: event.reason });
    else open.reject(ServeError.fromPlain(event.error));
  }
}

/** Answers questions greedily. */
class AnswerEngine implements AnswerModel {
  readonly #engine: LocalEngine;
  readonly #addedTokens: AddedTokens | undefined;

  constructor(engine: LocalEngine, addedTokens: AddedTokens | undefined) {
    this.#engine = engine;
    this.#addedTokens = addedTokens;
  }

  async answer({ promptIds, maxTokens, constraint: given }: AnswerRequest) {
    const room = this.#engine.roomAfter(promptIds);
    if (room < 1) return undefined;
    const constraint = given && (await constraintCompiler.compile(given));
    const addedTokens = this.#addedTokens;
    const { ids, reason } = await this.#engine.generate({
      promptIds,
      maxTokens: Math.min(maxTokens, room),
      sampling: GREEDY,
      ...(constraint && { constraint, ...(addedTokens && { addedTokens }) }),
    });
    return reason === 'stop' ? ids : undefined;
  }
}

/** Temperature 1 and nothing else, so a token is drawn with the probability that the model gives it. */
const PURE: SamplingParams = { ...GREEDY, ...toNumericParams({}), topLogprobs: 0 };

/** Samples completions. */
class SamplingEngine implements CompletionSampler {
  readonly #engine: LocalEngine;

  constructor(engine: LocalEngine) {
    this.#engine = engine;
  }

  async use(directory: string): Promise<void> {
    const { digest } = await readAdapterFiles(directory);
    this.#engine.adapter = toSource(digest, directory);
  }

  async sample({ promptIds, maxTokens, seed }: Parameters<CompletionSampler['sample']>[0]) {
    const room = this.#engine.roomAfter(promptIds);
    if (room < 1) {
      throw new ConfigError([
        `maxLength: a prompt has ${promptIds.length} tokens, more than the engine holds`,
      ]);
    }
    const { ids, logProbs, reason } = await this.#engine.generate({
      promptIds,
      maxTokens: Math.min(maxTokens, room),
      includesStopToken: true,
      sampling: { ...PURE, seed },
    });
    return { ids, logProbs, isWhole: reason === 'stop' };
  }
}
