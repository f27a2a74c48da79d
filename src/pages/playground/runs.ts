// The answers that are being generated: shows them as they grow, and stops them.
import { type Signal, signal } from '@preact/signals';
import { generate } from './answering.ts';
import type { Answer, ChatBody } from './chat.ts';

/** An answer's place in its chat: its turn and column. */
export interface Place {
  readonly id: string;
  readonly column: number;
}

/** Starts and stops answers. */
export class Runs {
  readonly #show: (place: Place, answer: Answer) => void;
  readonly #stops = new Map<string, AbortController>();
  /** Grown answers that the next frame shows: tokens can come faster than the screen refreshes. */
  readonly #grown = new Map<string, () => void>();
  #frame = 0;
  readonly isBusy: Signal<boolean> = signal(false);

  constructor(show: (place: Place, answer: Answer) => void) {
    this.#show = show;
  }

  /** Generates an answer. Resolves when it has ended. */
  async run(place: Place, start: Answer, body: ChatBody): Promise<void> {
    const key = keyOf(place);
    const stopping = new AbortController();
    this.#stops.set(key, stopping);
    const onGrown = (answer: Answer) => {
      this.#grown.set(key, () => this.#show(place, answer));
      this.#frame ||= requestAnimationFrame(() => this.showGrown());
    };
    const ended = await generate(start, { body, signal: stopping.signal, onGrown });
    this.#stops.delete(key);
    this.#grown.delete(key);
    this.#show(place, ended);
  }

  /** Waits for what answers need. Returns whether the user has stopped meanwhile. */
  async waitFor(work: Promise<unknown>): Promise<boolean> {
    const stopping = new AbortController();
    const { signal } = stopping;
    this.#stops.set('', stopping);
    this.isBusy.value = true;
    await Promise.race([work, new Promise((resolve) => signal.addEventListener('abort', resolve))]);
    this.isBusy.value = false;
    this.#stops.delete('');
    return signal.aborted;
  }

  /** Shows what has arrived. */
  showGrown(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    for (const show of this.#grown.values()) show();
    this.#grown.clear();
  }

  /** Stops one answer, or all. */
  stop(place?: Place): void {
    const stopped = place ? [this.#stops.get(keyOf(place))] : this.#stops.values();
    for (const stopping of stopped) stopping?.abort();
  }
}

function keyOf({ id, column }: Place): string {
  return `${id} ${column}`;
}
