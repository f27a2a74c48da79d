// A server's engine in this process, for programs that generate many completions with an adapter.
import { ServeError } from '../common/errors.ts';
import { createLog } from '../common/log.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import type { AdapterSource, FinishReason, GenerationRequest } from '../contracts/generation.ts';
import { LOCAL_TENANT } from '../contracts/tenant.ts';
import type { EngineClient } from '../engine-client/client.ts';
import type { EngineEvent } from '../scheduler/protocol.ts';
import { StepLoop } from '../scheduler/step-loop.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import type { ProgramContext } from './context.ts';
import { createEngineHost } from './engine.ts';
import { createInProcessClient } from './in-process-client.ts';
import { engineOptions, type PreparedBase, prepareBase } from './prepared-base.ts';

/** How an engine is used. */
interface EngineUse {
  readonly context: ProgramContext;
  readonly addedTokens?: AddedTokens | undefined;
  /** Whether a completion depends on its request alone. Default: false. */
  readonly isInvariant?: boolean;
}

/** Nothing here is refused because much is waiting. */
const ADMISSION = { maxWaiting: Number.POSITIVE_INFINITY };

/** Runs the work with an engine of the configured base. Throws `ConfigError` or `FileError` if it does not fit the machine. */
export async function withEngine<T>(
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
  const log = createLog(config.logLevel);
  const client = createInProcessClient(new StepLoop(host), log, ADMISSION);
  try {
    return await work(new LocalEngine({ client, base, stopTokenIds }));
  } finally {
    await client.drain(0);
  }
}

/** Returns the source of the adapter in a PEFT folder. */
export function toSource(digest: string, directory: string): AdapterSource {
  return { digest, owner: LOCAL_TENANT.id, parts: [{ digest, directory, weight: 1 }] };
}

/** Generated tokens. */
interface Completion {
  readonly ids: readonly number[];
  /** Their log-probabilities, if the request asks for them. */
  readonly logProbs: readonly number[];
  readonly reason: FinishReason;
}

/** The parts of a running engine. */
interface LocalEngineParts {
  readonly client: EngineClient;
  readonly base: PreparedBase;
  readonly stopTokenIds: readonly number[];
}

/** Generates completions with one adapter. */
export class LocalEngine {
  readonly client: EngineClient;
  readonly base: PreparedBase;
  readonly #stopTokenIds: readonly number[];
  /** The adapter of the requests from now on. Absent: the base. */
  adapter: AdapterSource | undefined;

  constructor({ client, base, stopTokenIds }: LocalEngineParts) {
    this.client = client;
    this.base = base;
    this.#stopTokenIds = stopTokenIds;
  }

  /** Returns the tokens that fit after a prompt. */
  roomAfter(promptIds: readonly number[]): number {
    return this.client.model!.maxSeqLength - promptIds.length;
  }

  /** Rejects with `ServeError` if the engine cannot generate a completion. Any number of requests may be in flight. */
  generate(request: Omit<GenerationRequest, 'stopTokenIds' | 'prefixScope'>): Promise<Completion> {
    const whole = { ...request, stopTokenIds: this.#stopTokenIds, prefixScope: LOCAL_TENANT.id };
    const ids: number[] = [];
    const logProbs: number[] = [];
    return new Promise((resolve, reject) => {
      this.client.submit(LOCAL_TENANT, this.adapter, whole, (event: EngineEvent) => {
        if (event.type === 'token') {
          ids.push(event.tokenId);
          if (event.logprob) logProbs.push(event.logprob.logprob);
        } else if (event.type === 'finished') resolve({ ids, logProbs, reason: event.reason });
        else if (event.type === 'failed') reject(ServeError.fromPlain(event.error));
      });
    });
  }
}
