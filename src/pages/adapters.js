// The adapters page: published adapters, adapters in local folders, and uploaded files.

import { createAdapterCard, createFolderCard } from './adapter-card.js';
import { isReleased } from './adapter-facts.js';
import { ApiError, errorText, request, requestJson } from './api.js';
import {
  byId,
  el,
  fill,
  keepFocus,
  setText,
  showLoaded,
  showMoreButton,
  showProblemIn,
} from './dom.js';
import { counted, dateAndTime, size } from './format.js';
import { PageList } from './page-list.js';
import { actionButton, createTable, dangerButton, downloadFile, number } from './widgets.js';

/** @typedef {import('../contracts/management-api.ts').Adapter} Adapter */
/** @typedef {import('../contracts/openai.ts').Model} Model */
/** @typedef {import('../contracts/fine-tuning-api.ts').FileObject} FileObject */

const PAGE_SIZE = 20;
const TYPING_MS = 300;

/** Published adapters by id, in the order of the list. @type {Map<string, Adapter>} */
const adapters = new Map();
/** The cards that are shown. One with the same state stays, with everything that was typed there. @type {WeakMap<Adapter, HTMLElement>} */
const cardOf = new WeakMap();
/** The name of the served base. */
let base = 'base';
/** Adapters in the server's local folder. @type {readonly Model[]} */
let folders = [];
/** Traffic by adapter; empty without an admin key. @type {readonly import('../contracts/management-api.ts').MetricsStatus['usage'][number][]} */
let usages = [];
/** The number of the latest search. Responses to older ones are dropped. */
let latestSearch = 0;
/** @type {PageList<FileObject>} */
const files = new PageList((after = '') => {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE), ...(after && { after }) });
  return requestJson(`v1/files?${query}`, { isQuiet: true });
});

const showFiles = createTable(byId('files'), {
  caption: 'Uploaded files',
  columns: ['File', number('Size'), 'Uploaded', 'Purpose', 'Actions'],
});

/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing;
const search = byId('search', HTMLInputElement);
search.addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => void loadAdapters(), TYPING_MS);
});
byId('more-adapters').addEventListener(
  'click',
  () => void loadAdapters([...adapters.keys()].at(-1)),
);
byId('more-files').addEventListener('click', () => void loadFiles(files.readMore()));
await Promise.all([loadUsages().then(() => loadAdapters()), loadFiles(files.refresh())]);
showLoaded();

/** Needs an admin key. Without one, the cards do not show who uses an adapter. */
async function loadUsages() {
  try {
    /** @type {import('../contracts/management-api.ts').MetricsStatus} */
    const { usage } = await requestJson('metrics/status', { isQuiet: true });
    usages = usage.filter(({ tenant }) => tenant !== null);
  } catch {
    usages = [];
  }
}

/** @param {string} [after] the id of the last loaded adapter; absent: starts again */
async function loadAdapters(after) {
  const searchNumber = ++latestSearch;
  const query = new URLSearchParams({ limit: String(PAGE_SIZE), search: search.value.trim() });
  if (after !== undefined) query.set('after', after);
  try {
    const [page, models] = await Promise.all([
      requestJson(`v1/adapters?${query}`),
      after === undefined ? requestJson('v1/models') : undefined,
    ]);
    if (searchNumber !== latestSearch) return;
    if (after === undefined) adapters.clear();
    for (const adapter of /** @type {Adapter[]} */ (page.data)) adapters.set(adapter.id, adapter);
    if (models) {
      folders = models.data.filter(isFolder);
      base =
        models.data.find((/** @type {Model} */ { parent }) => parent === undefined)?.id ?? base;
    }
    showMoreButton('more-adapters', page.has_more);
    showProblemIn(byId('problem'), '');
    showAdapters();
  } catch (error) {
    if (searchNumber === latestSearch) showProblem(error);
  }
}

/** Whether a model is an adapter in a local folder: the root of a published one contains a version. @param {Model} model */
function isFolder({ id, parent, root }) {
  return parent !== undefined && !root?.includes('@') && !id.startsWith('ft:');
}

function showAdapters() {
  const query = search.value.trim().toLowerCase();
  const shownFolders = folders.filter(({ id }) => id.toLowerCase().includes(query));
  const usagesOf = (/** @type {string} */ name) => usages.filter(({ model }) => model === name);
  const releasedFirst = [...adapters.values()].sort(
    (a, b) => Number(isReleased(b)) - Number(isReleased(a)),
  );
  const cards = [
    ...releasedFirst.map((adapter) => cardFor(adapter, usagesOf(adapter.name))),
    ...shownFolders.map((model) => createFolderCard(model, base, usagesOf(model.id))),
  ];
  keepOpen(cards);
  const list = byId('adapters');
  const card = document.activeElement?.closest('.adapter')?.id ?? '';
  const rebuild = () => fill(list, ...cards);
  keepFocus(
    list,
    rebuild,
    () => document.getElementById(card)?.querySelector('h2') ?? byId('title'),
  );
  const none =
    query === ''
      ? 'No adapters yet. Train one on the fine-tuning page, or publish one with lorikeet adapters push.'
      : 'No adapter matches this search.';
  setText(byId('adapters-help'), cards.length === 0 ? none : '');
  byId('adapters-help').hidden = cards.length > 0;
}

/** @param {Adapter} adapter @param {readonly import('../contracts/management-api.ts').MetricsStatus['usage'][number][]} usages */
function cardFor(adapter, usages) {
  const card =
    cardOf.get(adapter) ??
    createAdapterCard(adapter, {
      base,
      usages,
      change: (...changes) => change(adapter, changes),
      send: (one) => send(adapter, one),
      show(state) {
        adapters.set(state.id, state);
        showAdapters();
      },
      fail: showProblem,
    });
  cardOf.set(adapter, card);
  return card;
}

/** Opens the sections that are open on the page now. @param {readonly HTMLElement[]} cards */
function keepOpen(cards) {
  const open = new Set([...byId('adapters').querySelectorAll('details[open]')].map(({ id }) => id));
  for (const card of cards) {
    for (const details of card.querySelectorAll('details')) {
      if (open.has(details.id)) details.open = true;
    }
  }
}

/**
 * Sends requests that change an adapter, in order, then shows its new state.
 * @param {Adapter} adapter
 * @param {readonly import('./adapter-card.js').Change[]} changes
 */
async function change(adapter, changes) {
  const { id, name, owner } = adapter;
  showProblemIn(byId('problem'), '');
  try {
    for (const one of changes) await send(adapter, one);
  } catch (error) {
    showProblem(error);
  }
  try {
    adapters.set(id, await requestJson(`v1/adapters/${encodeURIComponent(name)}?owner=${owner}`));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) adapters.delete(id);
    else showProblem(error);
  }
  showAdapters();
}

/**
 * Sends a request that changes an adapter.
 * @param {Adapter} adapter
 * @param {import('./adapter-card.js').Change} change
 * @returns {Promise<Adapter>} its new state, unless the request deletes
 */
async function send({ name, owner }, { path, method = 'POST', json }) {
  const below = `v1/adapters/${encodeURIComponent(name)}${path}`;
  return method === 'POST'
    ? requestJson(below, { json: { owner, ...json } })
    : requestJson(`${below}?owner=${owner}`, { method });
}

/** @param {unknown} error */
function showProblem(error) {
  showProblemIn(byId('problem'), errorText(error));
  if (adapters.size === 0) setText(byId('adapters-help'), '');
  byId('problem').scrollIntoView({ block: 'nearest' });
}

/** Hides the section on a server without fine-tuning. @param {Promise<void>} reading */
async function loadFiles(reading) {
  try {
    await reading;
    byId('files-section').hidden = false;
    showMoreButton('more-files', files.hasMore);
    listFiles();
  } catch {
    byId('files-section').hidden = true;
  }
}

function listFiles() {
  byId('files').hidden = files.items.length === 0;
  const none = 'No files. Files for fine-tuning jobs appear here.';
  setText(byId('files-help'), files.items.length === 0 ? none : '');
  showFiles(
    files.items.map((file) => [
      file.filename,
      size(file.bytes),
      dateAndTime(file.created_at),
      file.purpose,
      el(
        'span.row.actions',
        actionButton('Download', ` ${file.filename}`, () =>
          downloadFile(`v1/files/${file.id}/content`, file.filename).catch(showProblem),
        ),
        dangerButton('Delete', ` ${file.filename}`, () => removeFile(file), {
          title: `Delete ${file.filename}?`,
          text: `${size(file.bytes)}. Jobs that are training on it continue. Jobs that are still waiting for it fail.`,
          action: 'Delete file',
        }),
      ),
    ]),
  );
}

/** @param {FileObject} file */
async function removeFile({ id, filename }) {
  try {
    await request(`v1/files/${id}`, { method: 'DELETE' });
    files.remove(id);
    listFiles();
    setText(
      byId('files-help'),
      `Deleted ${filename}. ${counted(files.items.length, 'file')} left.`,
    );
  } catch (error) {
    showProblem(error);
  }
}
