// The answers of several models to the same prompts, in a table: a row for each prompt, a column for each model.
import { errorText, isAbort, readModel, requestJson } from './api.js';
import { likelyClasses } from './chat.js';
import { el, fill, setText } from './dom.js';
import { percent } from './format.js';
import { createTable } from './widgets.js';

/** The server has few slots, and one answer tells little. */
const MAX_PROMPTS = 10;
/** Enough to see how a model answers. */
const MAX_TOKENS = 200;

/**
 * @typedef {object} Comparison
 * @property {readonly string[]} models
 * @property {readonly string[]} prompts
 * @property {import('./adapter-facts.js').Kind} kind
 * @property {AbortSignal} signal ends the requests
 */

/**
 * Shows the answers as they come. Sampling is greedy, so that a difference comes from the versions.
 * @param {HTMLElement} parent
 * @param {Comparison} comparison
 */
export async function compareAnswers(parent, { models, prompts, kind, signal }) {
  if (prompts.length === 0) {
    fill(parent, el('p.help', 'Enter a prompt.'));
    return;
  }
  const columns = ['Prompt', ...models];
  const showRows = createTable(parent, { caption: 'Answers', columns });
  const answer = kind === 'classifier' ? classify : chat;
  const rows = prompts.slice(0, MAX_PROMPTS).map((prompt) => ({
    prompt,
    cells: models.map(() => el('span.answer-cell', '…')),
  }));
  showRows(rows.map(({ prompt, cells }) => [prompt, ...cells]));
  for (const { prompt, cells } of rows) {
    await Promise.all(
      models.map(async (model, i) => {
        const text = await answer(model, prompt, signal).catch(errorOf);
        setText(/** @type {Element} */ (cells[i]), text);
      }),
    );
    if (signal.aborted) return;
  }
}

/** @param {unknown} error */
function errorOf(error) {
  return isAbort(error) ? '' : `Failed: ${errorText(error)}`;
}

/** @param {string} model @param {string} prompt @param {AbortSignal} signal @returns {Promise<string>} */
async function chat(model, prompt, signal) {
  const { max_model_len: context = 2 * MAX_TOKENS } = await readModel(model);
  const limit = Math.min(MAX_TOKENS, Math.floor(context / 2)); // the prompt needs room
  const messages = [{ role: 'user', content: prompt }];
  const json = { model, messages, temperature: 0, max_tokens: limit };
  /** @type {import('../contracts/openai.ts').ChatCompletion} */
  const { choices } = await requestJson('v1/chat/completions', { json, signal });
  const message = choices[0]?.message;
  return message?.content ?? JSON.stringify(message?.tool_calls ?? '');
}

/** @param {string} model @param {string} input @param {AbortSignal} signal */
async function classify(model, input, signal) {
  /** @type {[import('../contracts/openai.ts').ClassificationList, Partial<import('../contracts/openai.ts').Model>]} */
  const [{ data }, { labels = [] }] = await Promise.all([
    requestJson('classify', { json: { model, input }, signal }),
    readModel(model),
  ]);
  const [best] = data[0] ? likelyClasses(data[0], labels) : [];
  return best ? `${best.label}, ${percent(best.share)}` : '';
}
