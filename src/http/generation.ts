// Runs the sequences of one request in the engine: submits them, turns their tokens into text, ends them at stop
// strings, counts. Each choice is one sequence. Knows no wire format and no socket.
import type { LocalLease } from '../../adapters/tiers/local-adapters.ts';
import { assertNever } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import type { GenerationRequest, TokenLogprob } from '../contracts/generation.ts';
import type { TenantShare } from '../contracts/tenant.ts';
import type { EngineClient, SequenceHandle } from '../scheduler/client.ts';
import type { EngineEvent, Prefetched } from '../scheduler/protocol.ts';
import type { GenerationObserver } from '../telemetry/request-observer.ts';
import type { StreamDecoderOptions } from '../tokenizer/stream-decoder.ts';

export interface ChoicePlan {
  index: number;
  request: GenerationRequest;
  /** The prompt's text, where the answer repeats it. */
  echo: string;
}

export interface GenerationPlan {
  tenant: TenantShare;
  /** Released once the engine has accepted every choice, or the generation is over. */
  adapter: LocalLease | undefined;
  choices: readonly ChoicePlan[];
  /** How the text of each choice ends. */
  textEnd: StreamDecoderOptions;
}

/** Token ids → text that may be shown, one sequence's. */
export interface TextDecoder {
  push(id: number): { text: string; stopped: boolean };
  end(): string;
}

export interface Receipt {
  tier?: string;
  loadMs?: number;
}

/** Per choice: begun, prompt?, token*, finished; then completed. Or failed at any time, and nothing after it. */
export interface GenerationListener {
  /** Once, when the engine has accepted all choices of the first wave: from here on the status is 200. */
  started(receipt: Receipt): void;
  begun(choice: ChoicePlan): void;
  /** Once, after `started`: a choice has a slot, and a server that ends lets it finish. */
  admitted?(): void;
  prompt(choice: ChoicePlan, logprobs: readonly TokenLogprob[]): void;
  /** `text` may be empty: half a character, or what may become a stop string. */
  token(choice: ChoicePlan, text: string, logprob: TokenLogprob | undefined): void;
  /** `rest`: what the decoder held back. */
  finished(choice: ChoicePlan, reason: 'stop' | 'length', rest: string): void;
  completed(completionTokens: number): void;
  failed(error: unknown): void;
}

export interface GenerationOptions {
  createDecoder(end: StreamDecoderOptions): TextDecoder;
  /** Choices beyond this wait for others to end. */
  maxInFlight: number;
  observer: GenerationObserver;
  /** Once, whatever the end: nothing more will be generated. Not where the engine accepted nothing. */
  onEnd(completionTokens: number, receipt: Receipt): void;
}

/** One choice in the engine. */
interface Run {
  choice: ChoicePlan;
  decoder: TextDecoder;
  handle: SequenceHandle;
}

type Accepted = Extract<EngineEvent, { type: 'accepted' }>;

export class Generation {
  readonly #client: EngineClient;
  readonly #plan: GenerationPlan;
  readonly #listener: GenerationListener;
  readonly #options: GenerationOptions;
  readonly #runs = new Set<Run>();
  #submitted = 0;
  #finished = 0;
  #completionTokens = 0;
  #accepted = 0;
  #firstWave = 0;
  #receipt: Receipt = {};
  #isAdmitted = false;
  #isOver = false;

  constructor(
    client: EngineClient,
    plan: GenerationPlan,
    options: GenerationOptions & { listener: GenerationListener },
  ) {
    this.#client = client;
    this.#plan = plan;
    this.#listener = options.listener;
    this.#options = options;
  }

  start(): void {
    this.#submitMore();
    this.#firstWave = this.#submitted;
  }

  #submitMore(): void {
    while (!this.#isOver && this.#runs.size < this.#options.maxInFlight && this.#hasNext()) {
      this.#submitNext();
    }
  }

  /** The client is gone: frees what the engine holds; the listener hears nothing more. */
  abort(): void {
    if (!this.#isOver) this.#options.observer.abandoned();
    this.#stop();
  }

  #stop(): void {
    this.#end();
    for (const run of this.#runs) run.handle.abort();
    this.#runs.clear();
  }

  #hasNext(): boolean {
    return this.#submitted < this.#plan.choices.length;
  }

  #submitNext(): void {
    const choice = this.#plan.choices[this.#submitted++]!;
    const { tenant, adapter } = this.#plan;
    this.#options.observer.submitted(choice.index);
    const run: Run = {
      choice,
      decoder: this.#options.createDecoder(this.#plan.textEnd),
      handle: this.#client.submit(tenant, adapter?.source, choice.request, (event) =>
        this.#hear(run, event),
      ),
    };
    this.#runs.add(run);
  }

  /** Events of a choice that has ended for us, at a stop string or by an abort, are dropped. */
  #hear(run: Run, event: EngineEvent): void {
    if (!this.#runs.has(run)) return;
    try {
      this.#options.observer.within(() => this.#onEvent(run, event));
    } catch (error) {
      this.#fail(error);
    }
  }

  #onEvent(run: Run, event: EngineEvent): void {
    const { observer } = this.#options;
    switch (event.type) {
      case 'accepted': {
        const receipt = toReceipt(this.#plan.adapter, event);
        observer.accepted(run.choice.index, receipt);
        this.#onAccepted(run.choice, receipt);
        return;
      }
      case 'admitted':
        observer.admitted(run.choice.index);
        if (!this.#isAdmitted) {
          this.#isAdmitted = true;
          this.#tellAdmitted();
        }
        return;
      case 'prompt':
        this.#listener.prompt(run.choice, event.logprobs);
        return;
      case 'token': {
        this.#completionTokens++;
        observer.token(run.choice.index);
        const { text, stopped } = run.decoder.push(event.tokenId);
        this.#listener.token(run.choice, text, event.logprob);
        if (!stopped) return;
        run.handle.abort();
        this.#finish(run, 'stop', '');
        return;
      }
      case 'finished':
        // We asked for no abort, so the engine gave the sequence up.
        if (event.reason === 'abort') {
          this.#fail(new ServeError('engine_restarting', 'The engine gave the request up'));
        } else this.#finish(run, event.reason, run.decoder.end());
        return;
      case 'failed':
        this.#fail(ServeError.fromPlain(event.error));
        return;
      default:
        assertNever(event);
    }
  }

  #onAccepted(choice: ChoicePlan, receipt: Receipt): void {
    const { adapter, choices } = this.#plan;
    if (this.#accepted === 0) this.#receipt = receipt;
    this.#accepted++;
    if (this.#accepted === choices.length) adapter?.release();
    if (this.#accepted === this.#firstWave) {
      this.#listener.started(this.#receipt);
      this.#tellAdmitted();
    }
    this.#listener.begun(choice);
  }

  /** Of a first wave's choices one may run before another one is accepted. */
  #tellAdmitted(): void {
    if (this.#isAdmitted && this.#accepted >= this.#firstWave) this.#listener.admitted?.();
  }

  #finish(run: Run, reason: 'stop' | 'length', rest: string): void {
    this.#runs.delete(run);
    this.#finished++;
    this.#options.observer.finished(run.choice.index, reason);
    this.#listener.finished(run.choice, reason, rest);
    if (this.#finished < this.#plan.choices.length) {
      this.#submitMore();
      return;
    }
    this.#options.observer.completed();
    this.#end();
    this.#listener.completed(this.#completionTokens);
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#plan.adapter?.release();
    if (this.#accepted > 0) this.#options.onEnd(this.#completionTokens, this.#receipt);
  }

  #fail(error: unknown): void {
    if (!this.#isOver) this.#options.observer.failed(error);
    this.#stop();
    this.#listener.failed(error);
  }
}

/** Where the adapter came from, over both processes. */
export function toReceipt(
  adapter: Pick<LocalLease, 'tier' | 'loadMs'> | undefined,
  { tier, loadMs = 0 }: Pick<Prefetched, 'tier' | 'loadMs'> | Accepted,
): Receipt {
  if (!adapter || tier === undefined) return {};
  return { tier: adapter.tier === 'store' ? 'store' : tier, loadMs: adapter.loadMs + loadMs };
}
