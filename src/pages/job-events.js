// A job's events, read from the API page by page.
import { requestJson } from './api.js';

/** Of one list of the API. */
const PAGE = 100;

/**
 * Reads a job's events from the newest back to those that are known.
 * @param {string} id @param {import('./job-curves.js').Told} told
 */
export async function readEvents(id, told) {
  let after = '';
  while (true) {
    /** @type {{ data: import('../contracts/openai.ts').FineTuningJobEvent[], has_more: boolean, last_id: string | null }} */
    const page = await requestJson(
      `v1/fine_tuning/jobs/${encodeURIComponent(id)}/events?limit=${PAGE}${after}`,
    );
    const isKnown = page.data.some((event) => told.has(event.id));
    told.add(page.data);
    if (!page.has_more || isKnown) return;
    after = `&after=${page.last_id}`;
  }
}
