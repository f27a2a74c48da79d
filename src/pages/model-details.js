// The details of a model, as `GET /v1/models/{id}` shows them.
import { requestJson } from './api.js';

/** @typedef {import('../contracts/openai.ts').Model} Model */

/** Resolves with a model, or with nothing of it if it cannot be read. @param {string} name @returns {Promise<Partial<Model>>} */
export async function readModel(name) {
  /** @type {Promise<Partial<Model>>} */
  const reading = requestJson(`v1/models/${encodeURIComponent(name)}`, { isQuiet: true });
  return reading.catch(() => ({}));
}
