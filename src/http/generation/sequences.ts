// Runs the sequences of one request in the engine: submits them, decodes their tokens, and ends them at stop strings. Each
// choice is one sequence. The sinks decide how events are written.
import type { LocalLease } from '../../../adapters/tiers/local-adapters.ts';
import { assertNever } from '../../common/assert.ts';
import { ServeError } from '../../common/errors.ts';
import type {
  AdapterUse,
  GenerationEvent,
  GenerationRequest,
  Prefetched,
  RequestTime,
} from '../../contracts/generation.ts';
import type { TenantShare } from '../../contracts/tenant.ts';
import type { EngineClient, SequenceHandle } from '../../engine-client/client.ts';
import type { EngineEvent } from '../../scheduler/protocol.ts';
import type { StreamDecoder, StreamDecoderOptions } from '../../tokenizer/stream-decoder.ts';

/** One choice of the response, which is one sequence in the engine. */
export interface ChoicePlan {
  index: number;
  request: GenerationRequest;
  /** The prompt's text if the completion repeats it, else empty. */
  echo: string;
}

/** The sequences of one request. */
export interface SequencesPlan {
  tenant: TenantShare;
  /** Released once the engine has accepted every choice, or when the generation ends. */
  adapter: LocalLease | undefined;
  choices: readonly ChoicePlan[];
  /** How the text of each choice ends. */
  textEnd: StreamDecoderOptions;
}

/** How to run a generation. */
interface GenerationOptions {
  createDecoder(end: StreamDecoderOptions): StreamDecoder;
  /** Choices beyond this number wait until others finish. */
  maxInFlight: number;
  /** Aborted when the client is gone or the request's time is over. */
  signal: AbortSignal;
  /** The request's deadline. Absent if it has none. */
  time?: RequestTime;
}

/** The client closed the connection, or stopped reading. */
export class ClientGone extends Error {
  override name = 'ClientGone';
}

/**
 * Yields the events of a generation. Each item holds all events that are ready, so a step of many choices costs one turn of the
 * loop. Throws `ServeError` if the engine refuses or loses a choice. When the signal is aborted, throws its reason if that is a
 * `ServeError`, else `ClientGone`. However the loop ends, sequences that still run are aborted and the adapter is released.
 */
export async function* runSequences(
  client: EngineClient,
  plan: SequencesPlan,
  options: GenerationOptions,
): AsyncGenerator<readonly GenerationEvent[], void, void> {
  const { signal } = options;
  const run = new SequencesRun(client, plan, options);
  const onAbort = () =>
    run.fail(signal.reason instanceof ServeError ? signal.reason : new ClientGone());
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal.aborted) onAbort();
    else run.start();
    for (;;) {
      const events = await run.take();
      if (events.length === 0) return;
      yield events;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    run.end();
  }
}

const NO_TEXT = { text: '', stopped: false };

/** One choice in the engine. */
interface LiveChoice {
  readonly index: number;
  readonly decoder: StreamDecoder;
  readonly handle: SequenceHandle;
}

class SequencesRun {
  readonly #client: EngineClient;
  readonly #plan: SequencesPlan;
  readonly #options: GenerationOptions;
  readonly #live = new Set<LiveChoice>();
  #submitted = 0;
  #accepted = 0;
  #finished = 0;
  /** The number of choices that were submitted at the start. */
  #firstWave = 0;
  #adapterUse: AdapterUse = {};
  /** Events that have not been taken yet. */
  #ready: GenerationEvent[] = [];
  #wake = () => {};
  #isOver = false;
  #error: unknown;

  constructor(client: EngineClient, plan: SequencesPlan, options: GenerationOptions) {
    this.#client = client;
    this.#plan = plan;
    this.#options = options;
  }

  start(): void {
    this.#submitMore();
    this.#firstWave = this.#submitted;
  }

  /**
   * Waits for events and returns them all. An empty list means that the generation is complete. Throws the error that ended it.
   */
  async take(): Promise<readonly GenerationEvent[]> {
    if (this.#ready.length === 0 && !this.#isOver) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#ready.length === 0 && this.#error !== undefined) throw this.#error;
    const events = this.#ready;
    this.#ready = [];
    return events;
  }

  /** Ends the generation with an error. Later calls have no effect. */
  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#error = error;
    this.end();
    this.#wake();
  }

  /** Aborts the sequences that still run and releases the adapter. */
  end(): void {
    this.#isOver = true;
    this.#plan.adapter?.release();
    for (const { handle } of this.#live) handle.abort();
    this.#live.clear();
  }

  #submitMore(): void {
    const { choices } = this.#plan;
    while (this.#live.size < this.#options.maxInFlight && this.#submitted < choices.length) {
      this.#submit(choices[this.#submitted++]!);
    }
  }

  #submit({ index, request }: ChoicePlan): void {
    const { tenant, adapter, textEnd } = this.#plan;
    this.#emit({ type: 'submitted', index });
    const choice: LiveChoice = {
      index,
      decoder: this.#options.createDecoder(textEnd),
      handle: this.#client.submit(
        tenant,
        adapter?.source,
        request,
        (event) => this.#receive(choice, event),
        this.#options.time,
      ),
    };
    this.#live.add(choice);
  }

  #emit(event: GenerationEvent): void {
    this.#ready.push(event);
    this.#wake();
  }

  /** Ignores events of a choice that has already ended here, at a stop string or by an abort. */
  #receive(choice: LiveChoice, event: EngineEvent): void {
    if (!this.#live.has(choice)) return;
    try {
      this.#apply(choice, event);
    } catch (error) {
      this.fail(error);
    }
  }

  #apply(choice: LiveChoice, event: EngineEvent): void {
    const { index, decoder, handle } = choice;
    switch (event.type) {
      case 'accepted':
        this.#accept(index, toAdapterUse(this.#plan.adapter, event));
        return;
      case 'admitted':
      case 'prompt':
      case 'embedding':
      case 'scores':
        this.#emit({ ...event, index });
        return;
      case 'token': {
        const { tokenId, logprob } = event;
        const { text, stopped } = this.#isHidden(choice, tokenId) ? NO_TEXT : decoder.push(tokenId);
        this.#emit({ type: 'token', index, tokenId, text, logprob });
        if (!stopped) return;
        handle.abort();
        this.#finish(choice, 'stop', '');
        return;
      }
      case 'finished':
        if (event.reason !== 'abort') {
          this.#finish(choice, event.reason, decoder.end());
          return;
        }
        // This side ignores the choices that it aborts itself, so it was the engine that gave up the sequence.
        this.fail(
          new ServeError('engine_restarting', 'The engine gave up on the request. Try again.'),
        );
        return;
      case 'failed':
        this.fail(ServeError.fromPlain(event.error));
        return;
      default:
        assertNever(event);
    }
  }

  /** Whether the token ends the completion and is not part of its text. Responses with token ids also have it. */
  #isHidden({ index }: LiveChoice, tokenId: number): boolean {
    const { choices, textEnd } = this.#plan;
    return !textEnd.includesStop && choices[index]!.request.stopTokenIds.includes(tokenId);
  }

  #accept(index: number, adapterUse: AdapterUse): void {
    if (this.#accepted === 0) this.#adapterUse = adapterUse;
    this.#accepted++;
    if (this.#accepted === this.#plan.choices.length) this.#plan.adapter?.release();
    this.#emit({ type: 'accepted', index, adapterUse });
    if (this.#accepted === this.#firstWave)
      this.#emit({ type: 'started', adapterUse: this.#adapterUse });
  }

  #finish(choice: LiveChoice, reason: 'stop' | 'length', rest: string): void {
    this.#live.delete(choice);
    this.#finished++;
    const { index, decoder } = choice;
    this.#emit({ type: 'finished', index, reason, rest, stopString: decoder.stopString });
    if (this.#finished === this.#plan.choices.length) this.#isOver = true;
    else this.#submitMore();
  }
}

/** Returns the tier that held the adapter, and how long loading it took in both processes. */
export function toAdapterUse(
  adapter: Pick<LocalLease, 'tier' | 'loadMs'> | undefined,
  {
    tier,
    loadMs = 0,
  }: Pick<Prefetched, 'tier' | 'loadMs'> | Extract<EngineEvent, { type: 'accepted' }>,
): AdapterUse {
  if (!adapter || tier === undefined) return {};
  return { tier: adapter.tier === 'store' ? 'store' : tier, loadMs: adapter.loadMs + loadMs };
}
