// A panel to try an adapter that does not chat: a classifier sorts a text into classes, an embedding adapter compares two texts.
import { errorText, readModel, requestJson } from './api.js';
import { likelyClasses } from './chat.js';
import { el, fill, problemText } from './dom.js';
import { shareRow } from './token-view.js';

/** @typedef {import('./adapter-facts.js').Adapter} Adapter */
/** @typedef {import('../contracts/openai.ts').ClassificationList} ClassificationList */
/** @typedef {import('../contracts/openai.ts').EmbeddingList} EmbeddingList */

/** A version that can be tried even if the name alone is not a model. @param {Adapter} adapter */
function modelNameOf({ name, aliases, versions }) {
  const isReleased = aliases.some(({ alias }) => alias === 'latest');
  return isReleased ? name : `${name}@${versions[0]?.version}`;
}

/**
 * Creates the folded panel.
 * @param {Adapter} adapter
 * @param {'classifier' | 'embedding'} kind
 * @param {string} base the name of the served base
 */
export function createTryPanel(adapter, kind, base) {
  const { id, about } = adapter;
  const model = modelNameOf(adapter);
  const isClassifier = kind === 'classifier';
  const labels = isClassifier ? ['Text'] : ['First text', 'Second text'];
  const fields = labels.map((label, i) => {
    const area = el('textarea', { id: `try-${i}-${id}`, rows: 2, value: about.examples[i] ?? '' });
    area.required = true;
    return { area, field: el('div.field', el('label', { htmlFor: area.id }, label), area) };
  });
  const result = el('div.alternatives', { role: 'status', hidden: true });
  const run = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const texts = fields.map(({ area }) => area.value);
    try {
      const rows = isClassifier ? await classify(model, texts) : await compare(model, base, texts);
      fill(result, ...rows);
    } catch (error) {
      fill(result, problemText(errorText(error)));
    }
    result.hidden = false;
  };
  const action = isClassifier ? 'Classify' : 'Compare';
  return el(
    'details.more',
    { id: `try-${id}` },
    el('summary', isClassifier ? 'Classify a text' : 'Compare two texts'),
    el(
      'form',
      { onsubmit: run },
      el('div.settings-grid', ...fields.map(({ field }) => field)),
      el('button.primary', { type: 'submit' }, action),
      result,
    ),
  );
}

/** @param {string} model @param {readonly string[]} input @returns {Promise<HTMLElement[]>} */
async function classify(model, input) {
  /** @type {[ClassificationList, Partial<import('../contracts/openai.ts').Model>]} */
  const [{ data }, { labels = [] }] = await Promise.all([
    requestJson('classify', { json: { model, input } }),
    readModel(model),
  ]);
  return data.flatMap((result) =>
    likelyClasses(result, labels).map(({ label, share }, i) => shareRow(label, share, i === 0)),
  );
}

/** Compares with the adapter, and with its base, which shows what training has changed. @param {string} model @param {string} base @param {readonly string[]} input @returns {Promise<HTMLElement[]>} */
async function compare(model, base, input) {
  const similarities = await Promise.all(
    [model, base].map(async (name) => {
      /** @type {EmbeddingList} */
      const { data } = await requestJson('v1/embeddings', {
        json: { model: name, input, encoding_format: 'float' },
      });
      return { name, value: similarityOf(data.map(({ embedding }) => embedding)) };
    }),
  );
  return [
    el('p.help', 'Cosine similarity: 1 means the same direction, 0 means unrelated.'),
    ...similarities.map(({ name, value }, i) => similarityRow(name, value, i === 0)),
  ];
}

/** The dot product of two vectors of length 1. @param {readonly (string | number[])[]} vectors */
function similarityOf([a, b]) {
  if (!Array.isArray(a) || !Array.isArray(b)) return Number.NaN;
  return a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
}

/** @param {string} name @param {number} value @param {boolean} isChosen */
function similarityRow(name, value, isChosen) {
  return el(
    'p',
    { className: isChosen ? 'chosen' : '' },
    el('code', name),
    el('meter', { min: -1, max: 1, value, 'aria-hidden': 'true' }),
    el('span', value.toFixed(3)),
  );
}
