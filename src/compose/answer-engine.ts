// A server's engine in this process, for programs that generate many completions with one adapter.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CONFIG_FILE, WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import type { ServedAdapter } from '../../trainer/commands/eval.ts';
import type { AnswerModel, AnswerRequest } from '../../trainer/evaluation/answers.ts';
import { ServeError } from '../common/errors.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import { type AdapterSource, GREEDY } from '../contracts/generation.ts';
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
  const base = await prepareBase(context);
  const directory = await mkdtemp(path.join(tmpdir(), 'lorikeet-eval-'));
  try {
    await writeFile(path.join(directory, CONFIG_FILE), files.configBytes);
    await writeFile(path.join(directory, WEIGHTS_FILE), files.weightsBytes);
    const { digest } = files;
    const source = {
      digest,
      owner: LOCAL_TENANT.id,
      parts: [{ digest, directory, weight: 1 }],
    };
    const { config } = context;
    const host = await createEngineHost(
      {
        engine: engineOptions(base, config),
        artifactDir: base.artifact.dir,
        adapterCacheBytes: base.plan.adapterCacheBytes,
        limits: { prefillChunk: config.prefillChunk },
      },
      ({ message }) => context.reporter.notify(message),
    );
    const baseTokenizer = await loadTokenizer(base.artifact.dir);
    const tokenizer = addedTokens ? baseTokenizer?.extended(addedTokens) : baseTokenizer;
    const stopTokenIds = tokenizer?.eosTokenIds ?? base.artifact.config.eosTokenIds;
    const engine = new AnswerEngine(new StepLoop(host), { source, stopTokenIds, addedTokens });
    return await engine.during(work);
  } finally {
    await rm(directory, { recursive: true });
  }
}

interface AnswerSettings {
  readonly source: AdapterSource;
  readonly stopTokenIds: readonly number[];
  readonly addedTokens: AddedTokens | undefined;
}

interface OpenAnswer {
  readonly ids: number[];
  resolve(ids: readonly number[] | undefined): void;
  reject(error: unknown): void;
}

/** Generates completions in an engine's loop. */
class AnswerEngine implements AnswerModel {
  readonly #loop: StepLoop;
  readonly #settings: AnswerSettings;
  readonly #open = new Map<SequenceId, OpenAnswer>();
  #lastId = 0;

  constructor(loop: StepLoop, settings: AnswerSettings) {
    this.#loop = loop;
    this.#settings = settings;
  }

  async during<T>(work: (model: AnswerModel) => Promise<T>): Promise<T> {
    const ended = this.#loop.run((message) => this.#receive(message));
    const result = work(this).finally(() => this.#loop.handle({ type: 'drain', deadlineMs: 0 }));
    await Promise.race([ended, result]);
    await ended;
    return result;
  }

  async answer({ promptIds, maxTokens, constraint: given }: AnswerRequest) {
    const room = this.#loop.model.maxSeqLength - promptIds.length;
    if (room < 1) return undefined;
    const constraint = given && (await constraintCompiler.compile(given));
    const { source, stopTokenIds, addedTokens } = this.#settings;
    const id = ++this.#lastId as SequenceId;
    return new Promise<readonly number[] | undefined>((resolve, reject) => {
      this.#open.set(id, { ids: [], resolve, reject });
      this.#loop.handle({
        type: 'submit',
        id,
        tenant: LOCAL_TENANT,
        adapter: source,
        request: {
          promptIds,
          maxTokens: Math.min(maxTokens, room),
          stopTokenIds,
          sampling: GREEDY,
          prefixScope: LOCAL_TENANT.id,
          ...(constraint && { constraint, ...(addedTokens && { addedTokens }) }),
        },
      });
    });
  }

  #receive(message: FromEngine): void {
    if (message.type === 'step') for (const event of message.events) this.#apply(event);
  }

  #apply(event: EngineEvent): void {
    const answer = this.#open.get(event.id);
    if (!answer) return;
    if (event.type === 'token') answer.ids.push(event.tokenId);
    if (event.type === 'finished') answer.resolve(event.reason === 'stop' ? answer.ids : undefined);
    if (event.type === 'failed') answer.reject(ServeError.fromPlain(event.error));
  }
}
