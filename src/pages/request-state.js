// Describes a running request. The server knows by the request's id what it waits for; a page asks while no token has arrived.

import { poll, requestJson } from './api.js';
import { createId } from './chat-tree.js';
import { counted, duration } from './format.js';

/** @typedef {import('../contracts/management-api.ts').Request} ServerRequest */
/** @typedef {import('../contracts/management-api.ts').RequestList} RequestList */

/** Most answers begin sooner, and then nobody asks. */
const FIRST_MS = 700;
const POLL_MS = 1_000;

/** @type {Readonly<Record<NonNullable<ServerRequest['reason']>, string>>} */
const REASONS = {
  no_slot: 'all slots are taken',
  tenant_share: 'this tenant has its share of the slots',
  next_step: 'it starts soon',
  paused: 'the server is paused',
};

/**
 * Describes what a request does.
 * @param {Pick<ServerRequest, 'state' | 'reason' | 'prompt_tokens'>} request
 * @param {boolean} isTraining whether a fine-tuning job uses the server's cores
 */
export function stateText({ state, reason, prompt_tokens: tokens }, isTraining = false) {
  const slow = isTraining ? ', next to a fine-tuning job' : '';
  if (state === 'loading') return 'loading the adapter';
  if (state === 'queued') return `queued${reason ? `: ${REASONS[reason]}` : ''}${slow}`;
  if (state === 'prefill') return `reading the prompt, ${counted(tokens, 'token')}${slow}`;
  return state === 'decode' ? `answering${slow}` : 'ended';
}

/**
 * Watches a request until it has its first token.
 * @param {(text: string) => void} show gets what it waits for, with the seconds
 * @returns {{ headers: Record<string, string>, stop: () => void }} the headers that give the request its id
 */
export function watchRequest(show) {
  const id = createId();
  const startMs = performance.now();
  let isStopped = false;
  let stopPolling = () => {};
  const ask = async () => {
    /** @type {Promise<RequestList>} */
    const asking = requestJson(`v1/requests?id=${id}`, { isQuiet: true });
    const list = await asking.catch(() => undefined); // the answer itself says what is wrong
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
