// The list of the user's newest batches, with the progress of each.
import { ApiError, requestJson } from './api.js';
import { byId, el } from './dom.js';
import { count, dateAndTime } from './format.js';
import { createTable, number } from './widgets.js';

/** @typedef {import('../contracts/batch-object.ts').BatchObject} Batch */

const showBatches = createTable(byId('batches'), {
  caption: 'Your batches',
  columns: ['Batch', 'Status', ...['Answered', 'Errors', 'Tokens'].map(number), 'Created'],
});

/** Reads the list again. Returns `done` if there is none for this user. @returns {Promise<'done' | undefined>} */
export async function refreshBatches() {
  try {
    /** @type {{ data: Batch[] }} */
    const { data } = await requestJson('v1/batches?limit=10', { isQuiet: true });
    byId('batches-section').hidden = data.length === 0;
    showBatches(data.map(toRow));
    return undefined;
  } catch (error) {
    byId('batches-section').hidden = true;
    return error instanceof ApiError && [401, 404].includes(error.status) ? 'done' : undefined;
  }
}

/** @param {Batch} batch */
function toRow({ id, status, request_counts: counts, usage, errors, created_at: createdAt }) {
  const { total, completed, failed } = counts;
  const [fault] = errors?.data ?? [];
  const title = fault && `${fault.line === null ? '' : `Line ${fault.line}: `}${fault.message}`;
  return [
    el('code', id),
    el('span', { className: `pill ${status}`, title }, status.replace('_', ' ')),
    total === 0 ? '' : `${count(completed + failed)} of ${count(total)}`,
    count(failed),
    count(usage.total_tokens),
    dateAndTime(createdAt),
  ];
}
