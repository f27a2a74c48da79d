// The table of running and recent requests on the status page, and what makes them slow. Operators see those of all tenants.
import { requestJson } from './api.js';
import { byId, el, fill, setText } from './dom.js';
import { count, duration, timeOfDay } from './format.js';
import { stateText } from './request-state.js';
import { reasonsOf, recentText } from './server-stats.js';
import { createTable, number } from './widgets.js';

/** @typedef {import('./request-state.js').RequestList} RequestList */
/** @typedef {import('./request-state.js').ServerRequest} ServerRequest */

const MAX_SHOWN = 30;

const showRequests = createTable(byId('requests'), {
  caption: 'Running and recent requests',
  columns: [
    ...['Model', 'Tenant', 'State'],
    ...['Prompt', 'Output', 'Waiting', 'Prefill', 'Decode'].map(number),
    'Arrived',
  ],
});

/**
 * Reads the requests again and shows them. Without a key that the server needs there are none.
 * @param {import('./server-stats.js').Load} load
 */
export async function refreshRequests(load) {
  /** @type {Promise<RequestList>} */
  const asking = requestJson('v1/requests', { isQuiet: true });
  const list = await asking.catch(() => undefined);
  byId('requests-section').hidden = !list;
  if (!list) return;
  showRequests(list.data.slice(0, MAX_SHOWN).map((request) => toRow(request, list.is_training)));
  const reasons = reasonsOf(list, load);
  fill(byId('reasons'), ...reasons.map((text) => el('li', text)));
  setText(byId('recent'), recentText(list.data));
}

/** @param {ServerRequest} request @param {boolean} isTraining */
function toRow(request, isTraining) {
  const { outcome, state } = request;
  const isGood = outcome === null || outcome === 'ok';
  const text = outcome === null ? stateText(request, isTraining) : outcome.replaceAll('_', ' ');
  const time = (/** @type {number | null} */ ms) => (ms === null ? '' : duration(ms / 1000));
  return [
    request.model,
    request.tenant,
    el('span', { className: isGood ? '' : 'bad-state', title: state }, text),
    ...[request.prompt_tokens, request.output_tokens].map(count),
    ...[request.waiting_ms, request.prefill_ms, request.decode_ms].map(time),
    timeOfDay(request.arrived_at),
  ];
}
