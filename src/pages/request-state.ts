// Describes a running request. The server looks up by id what the request is waiting for; a page asks while no token has arrived.
import type { RequestList, Request as ServerRequest } from '../contracts/management-api.ts';
import { poll, readOptional } from './api.ts';
import { counted, duration } from './format.ts';
import { createId } from './ids.ts';

/** Most answers begin sooner, and then nobody asks. */
const FIRST_MS = 700;
const POLL_MS = 1_000;

const REASONS: Readonly<Record<NonNullable<ServerRequest['reason']>, string>> = {
  no_slot: 'all slots are taken',
  tenant_share: 'this tenant has its share of the slots',
  next_step: 'it starts soon',
  paused: 'the server is paused',
};

/** Describes what a request does. @param isTraining whether a fine-tuning job uses the server's cores */
export function stateText(
  {
    state,
    reason,
    prompt_tokens: tokens,
  }: Pick<ServerRequest, 'state' | 'reason' | 'prompt_tokens'>,
  isTraining = false,
): string {
  const slow = isTraining ? ', next to a fine-tuning job' : '';
  if (state === 'loading') return 'loading the adapter';
  if (state === 'queued') return `queued${reason ? `: ${REASONS[reason]}` : ''}${slow}`;
  if (state === 'prefill') return `reading the prompt, ${counted(tokens, 'token')}${slow}`;
  return state === 'decode' ? `answering${slow}` : 'ended';
}

/**
 * Watches a request until it has its first token. Returns the headers that give the request its id.
 * @param show gets a description of its state, with the seconds
 */
export function watchRequest(show: (text: string) => void): {
  readonly headers: Record<string, string>;
  stop(): void;
} {
  const id = createId();
  const startMs = performance.now();
  let isStopped = false;
  let stopPolling = () => {};
  const ask = async () => {
    // If it fails, the answer itself says what is wrong.
    const list = await readOptional<RequestList>(`v1/requests?id=${id}`);
    if (isStopped) return;
    const [request] = list?.data ?? [];
    const text = request ? stateText(request, list?.is_training) : 'waiting for the server';
    show(`${text} · ${duration(Math.round((performance.now() - startMs) / 1000))}`);
  };
  const timer = setTimeout(() => {
    stopPolling = poll(POLL_MS, ask);
  }, FIRST_MS);
  return {
    headers: { 'x-request-id': id },
    stop() {
      isStopped = true;
      clearTimeout(timer);
      stopPolling();
    },
  };
}
