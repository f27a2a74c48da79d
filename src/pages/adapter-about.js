// The form for what an adapter is for: kind, description, tags and example prompts. A save replaces only the text that the form
// was filled with; if somebody else has changed it meanwhile, the user sees that text before replacing it.
import { kindOf } from './adapter-facts.js';
import { ApiError, errorText, requestJson } from './api.js';
import { el, showProblemIn } from './dom.js';
import { choiceField } from './widgets.js';

/** @typedef {import('./adapter-facts.js').Adapter} Adapter */

/** Limits of the API. */
const MAX_DESCRIPTION = 500;

/** Creates the folded form. @param {Adapter} adapter @param {import('./adapter-card.js').CardOptions} options */
export function createAboutForm(adapter, { send, show }) {
  const { id, name, about } = adapter;
  let { revision } = about;
  const input = (/** @type {string} */ part, /** @type {string} */ value, maxLength = 10_000) =>
    el('input', { id: `${part}-${id}`, type: 'text', value, maxLength, autocomplete: 'off' });
  const description = input('description', about.description, MAX_DESCRIPTION);
  const tags = input('tags', about.tags.join(', '));
  const examples = el('textarea', {
    id: `examples-${id}`,
    rows: 3,
    value: about.examples.join('\n'),
  });
  const kind = choiceField({
    id: `kind-${id}`,
    label: 'Used for',
    options: [
      ['chat', 'Chat'],
      ['embedding', 'Embeddings'],
    ],
  });
  const select = /** @type {HTMLSelectElement} */ (kind.querySelector('select'));
  select.value = about.kind;
  const problem = el('p.problem', { role: 'alert', hidden: true });
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const json = {
      kind: select.value,
      description: description.value.trim(),
      tags: wordsOf(tags.value, ','),
      examples: wordsOf(examples.value, '\n'),
      revision,
    };
    try {
      show(await send({ path: '', json }));
    } catch (error) {
      showProblemIn(problem, await explain(error));
    }
  };
  /** @param {unknown} error */
  async function explain(error) {
    if (!(error instanceof ApiError) || error.status !== 412) return errorText(error);
    /** @type {Adapter} */
    const { about: newest } = await requestJson(
      `v1/adapters/${encodeURIComponent(name)}?owner=${adapter.owner}`,
    );
    revision = newest.revision;
    return `Someone else has written meanwhile: “${newest.description}”. Save again to replace it.`;
  }
  return el(
    'details.more',
    { id: `about-${id}` },
    el('summary', 'Describe'),
    el(
      'form',
      { onsubmit: save },
      field('Description', description, 'One sentence: what does it do, and for whom?'),
      el('div.settings-grid', field('Tags', tags, 'Separated by commas'), whenChosen()),
      field('Example prompts', examples, 'One per line, up to five'),
      problem,
      el('button.primary', { type: 'submit' }, 'Save'),
    ),
  );

  /** A classifier is recognized by its files. */
  function whenChosen() {
    return kindOf(adapter) === 'classifier' ? null : kind;
  }
}

/** @param {string} label @param {HTMLElement} control @param {string} help */
function field(label, control, help) {
  const helpId = `${control.id}-help`;
  control.setAttribute('aria-describedby', helpId);
  return el(
    'div.field',
    el('label', { htmlFor: control.id }, label),
    control,
    el('p.help', { id: helpId }, help),
  );
}

/** @param {string} text @param {string} separator */
function wordsOf(text, separator) {
  return text
    .split(separator)
    .map((word) => word.trim())
    .filter(Boolean);
}
