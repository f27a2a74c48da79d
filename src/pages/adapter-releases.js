// Releases of an adapter: its aliases with their way back, and the dialog that gives a version all requests of an alias, or a
// share of them. The dialog shows the version next to the current one: their figures, and their answers to some prompts.

import { compareAnswers } from './adapter-answers.js';
import { evaluationText, kindOf, MADE_BY_JOBS } from './adapter-facts.js';
import { byId, el, fill, setText } from './dom.js';
import { dateAndTime, size } from './format.js';
import { modelOf, pointerTo, releaseText, sharesText, withShare } from './release-plan.js';
import { actionButton, createTable, dangerButton } from './widgets.js';

/** @typedef {import('./adapter-facts.js').Adapter} Adapter */
/** @typedef {Adapter['aliases'][number]} Alias */
/** @typedef {import('./adapter-card.js').CardOptions} CardOptions */

/** The rows of the figures. @type {readonly (readonly [name: string, read: (version: Adapter['versions'][number]) => string])[]} */
const FIGURES = [
  ['Evaluation', (version) => evaluationText(version) || 'none'],
  ['Created', ({ created_at: createdS }) => dateAndTime(createdS)],
  ['Rank', ({ rank }) => String(rank)],
  ['Size', ({ bytes }) => size(bytes)],
  [
    'Training file',
    ({ training }) => (training ? size(training.training_file.bytes) : 'not recorded'),
  ],
];

/** Lists the aliases that people move. @param {Adapter} adapter @param {CardOptions} options */
export function createAliases(adapter, options) {
  const aliases = adapter.aliases.filter(({ alias }) => !MADE_BY_JOBS.test(alias));
  const [newest] = adapter.versions;
  return el(
    'div',
    el('ul.aliases', ...aliases.map((alias) => aliasRow(adapter, alias, options))),
    adapter.is_writable &&
      newest &&
      el(
        'div.row',
        actionButton('Release…', `: ${adapter.name}`, () =>
          openRelease(adapter, { alias: 'latest', version: newest.version }, options),
        ),
      ),
  );
}

/** @param {Adapter} adapter @param {Alias} alias @param {CardOptions} options */
function aliasRow(adapter, { alias, leads_to, previous }, { change }) {
  const { name, is_writable: isWritable } = adapter;
  const path = `/aliases/${encodeURIComponent(alias)}`;
  return el(
    'li',
    el('div', el('code', alias), ' → ', sharesText(leads_to)),
    isWritable &&
      el(
        'div.row',
        previous &&
          actionButton(`Roll back to ${sharesText(previous)}`, `: ${name}:${alias}`, () =>
            change({ path: `${path}/rollback` }),
          ),
        alias !== 'latest' &&
          dangerButton('Delete alias', ` ${name}:${alias}`, () =>
            change({ path, method: 'DELETE' }),
          ),
      ),
  );
}

/** Ends what the dialog does for the adapter that it showed before. */
let leave = new AbortController();

/**
 * Opens the dialog.
 * @param {Adapter} adapter
 * @param {{ alias: string, version: number }} start what it proposes
 * @param {CardOptions} options
 */
export function openRelease(adapter, start, { change }) {
  const dialog = byId('release-dialog', HTMLDialogElement);
  const alias = byId('release-alias', HTMLInputElement);
  const version = byId('release-version', HTMLSelectElement);
  const share = byId('release-share', HTMLInputElement);
  leave = new AbortController();
  const { signal } = leave;
  setText(byId('release-title'), `Release a version of ${adapter.name}`);
  fill(
    byId('release-aliases'),
    ...adapter.aliases
      .filter((one) => !MADE_BY_JOBS.test(one.alias))
      .map((one) => el('option', { value: one.alias })),
  );
  fill(
    version,
    ...adapter.versions.map((one) =>
      el('option', { value: one.version }, `Version ${one.version}`),
    ),
  );
  alias.value = start.alias;
  version.value = String(start.version);
  share.value = '100';
  byId('prompts', HTMLTextAreaElement).value = adapter.about.examples.join('\n');
  byId('answers-part').hidden = kindOf(adapter) === 'embedding';
  fill(byId('answers'));

  const plan = () => {
    const current = adapter.aliases.find((one) => one.alias === alias.value)?.leads_to;
    const candidate = Number(version.value);
    const next = withShare(current ?? [], candidate, Number(share.value));
    return {
      current,
      candidate,
      next,
      text: releaseText(modelOf(adapter.name, alias.value), current, next),
    };
  };
  const update = () => {
    const { current, candidate, text } = plan();
    const others = (current ?? []).filter((one) => one.version !== candidate);
    share.disabled = others.length === 0;
    setText(byId('release-share-text'), share.disabled ? '100%' : `${share.value}%`);
    setText(byId('release-says'), text || 'That is how it is now.');
    byId('release-yes', HTMLButtonElement).disabled = text === '' || !alias.validity.valid;
    showFigures(adapter, versionsToCompare(current, candidate));
  };
  for (const field of [alias, version, share]) {
    field.addEventListener('input', update, { signal });
  }
  const compare = () => {
    const { current, candidate } = plan();
    const prompts = byId('prompts', HTMLTextAreaElement)
      .value.split('\n')
      .filter((line) => line.trim());
    const models = versionsToCompare(current, candidate).map((one) => `${adapter.name}@${one}`);
    void compareAnswers(byId('answers'), { models, prompts, kind: kindOf(adapter), signal });
  };
  byId('compare-answers').addEventListener('click', compare, { signal });
  dialog.addEventListener(
    'close',
    () => {
      leave.abort();
      if (dialog.returnValue !== 'yes') return;
      const path = `/aliases/${encodeURIComponent(alias.value)}`;
      void change({ path, json: pointerTo(plan().next) });
    },
    { signal },
  );
  update();
  dialog.returnValue = '';
  dialog.showModal();
}

/** The current version with the most requests, and the candidate. @param {Alias['leads_to'] | undefined} current @param {number} candidate */
function versionsToCompare(current = [], candidate) {
  const [largest] = current
    .filter(({ version }) => version !== candidate)
    .sort((a, b) => b.percent - a.percent);
  return largest ? [largest.version, candidate] : [candidate];
}

/** @param {Adapter} adapter @param {readonly number[]} numbers */
function showFigures({ versions }, numbers) {
  const shown = numbers.flatMap(
    (number) => versions.find(({ version }) => version === number) ?? [],
  );
  const showRows = createTable(byId('release-figures'), {
    caption: 'Figures of the versions',
    columns: ['', ...shown.map(({ version }) => `Version ${version}`)],
  });
  showRows(FIGURES.map(([name, read]) => [name, ...shown.map(read)]));
}
