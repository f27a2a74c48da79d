// The adapters page: published adapters with their versions and aliases, local folders, and uploaded files.

import { createAdapterCard, createFolderCard } from './adapter-card.js';
import { ApiError, errorText, request, requestJson } from './api.js';
import { confirmed } from './confirm.js';
import { byId, el, fill, say } from './dom.js';
import { figuresOfMetrics } from './figures.js';
import { counted, dateAndTime, size } from './format.js';
import { saveFile } from './save-file.js';
import { createTable } from './table.js';

/** @typedef {import('../contracts/management-api.ts').Adapter} Adapter */
/** @typedef {import('../contracts/openai.ts').FileObject} FileObject */

const PAGE = 20;
const TYPING_MS = 300;

/** By id, in the order of the list. @type {Map<string, Adapter>} */
const adapters = new Map();
/** Adapters in folders of the server's machine. @type {readonly import('../contracts/openai.ts').Model[]} */
let folders = [];
/** Empty if the reader's key is no admin's. @type {readonly import('./figures.js').Usage[]} */
let usages = [];
/** The newest search; answers to older ones are dropped. */
let asked = 0;
/** @type {FileObject[]} */
let files = [];

const showFiles = createTable(byId('files'), {
  caption: 'Uploaded files',
  columns: [
    { name: 'File' },
    { name: 'Size', isNumber: true },
    { name: 'Uploaded' },
    { name: 'Purpose' },
    { name: 'Actions' },
  ],
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
byId('more-files').addEventListener('click', () => void loadFiles(files.at(-1)?.id));
void loadUsages().then(() => loadAdapters());
void loadFiles();

/** /metrics is an operator's page: without access nothing is said of who uses an adapter. */
async function loadUsages() {
  try {
    const text = await (await request('metrics', { isQuiet: true })).text();
    usages = figuresOfMetrics(text).operator?.busiest ?? [];
  } catch {
    usages = [];
  }
}

/** @param {string} [after] the last one of the page before; absent: from the start */
async function loadAdapters(after) {
  const mine = ++asked;
  const query = new URLSearchParams({ limit: String(PAGE), search: search.value.trim() });
  if (after !== undefined) query.set('after', after);
  try {
    const [page, models] = await Promise.all([
      requestJson(`v1/adapters?${query}`),
      after === undefined ? requestJson('v1/models') : undefined,
    ]);
    if (mine !== asked) return;
    if (after === undefined) adapters.clear();
    for (const adapter of /** @type {Adapter[]} */ (page.data)) adapters.set(adapter.id, adapter);
    if (models) folders = models.data.filter(isFolder);
    byId('more-adapters').hidden = !page.has_more;
    byId('problem').hidden = true;
    showAdapters();
  } catch (error) {
    if (mine === asked) showProblem(error);
  }
}

/** Of a published adapter `root` has a version. @param {import('../contracts/openai.ts').Model} model */
function isFolder({ id, parent, root }) {
  return parent !== undefined && !root?.includes('@') && !id.startsWith('ft:');
}

function showAdapters() {
  const wanted = search.value.trim().toLowerCase();
  const shownFolders = folders.filter(({ id }) => id.toLowerCase().includes(wanted));
  const cards = [
    ...[...adapters.values()].map((adapter) =>
      createAdapterCard(adapter, {
        usages: usages.filter(({ adapter: name }) => name === adapter.name),
        change: (...steps) => change(adapter, steps),
        fail: showProblem,
      }),
    ),
    ...shownFolders.map((model) =>
      createFolderCard(
        model,
        usages.filter(({ adapter: name }) => name === model.id),
      ),
    ),
  ];
  keepOpen(cards);
  fill(byId('adapters'), ...cards);
  const none =
    wanted === ''
      ? 'No adapters yet. Train one on the fine-tuning page, or publish one with lorikeet adapters push.'
      : 'No adapter has this in its name.';
  say(byId('adapters-help'), cards.length === 0 ? none : '');
  byId('adapters-help').hidden = cards.length > 0;
}

/** What was open stays open. @param {readonly HTMLElement[]} cards */
function keepOpen(cards) {
  const open = new Set([...byId('adapters').querySelectorAll('details[open]')].map(({ id }) => id));
  for (const card of cards) {
    for (const details of card.querySelectorAll('details')) {
      if (open.has(details.id)) details.open = true;
    }
  }
}

/**
 * Makes the changes in order, and shows the adapter as it is then.
 * @param {Adapter} adapter
 * @param {readonly import('./adapter-card.js').Step[]} steps
 */
async function change({ id, name, owner }, steps) {
  const below = `v1/adapters/${encodeURIComponent(name)}`;
  byId('problem').hidden = true;
  try {
    for (const { path, method = 'POST', json } of steps) {
      if (method === 'POST') await request(`${below}${path}`, { json: { owner, ...json } });
      else await request(`${below}${path}?owner=${owner}`, { method });
    }
  } catch (error) {
    showProblem(error);
  }
  try {
    adapters.set(id, await requestJson(`${below}?owner=${owner}`));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) adapters.delete(id);
    else showProblem(error);
  }
  showAdapters();
}

/** @param {unknown} error */
function showProblem(error) {
  byId('problem').hidden = false;
  say(byId('problem'), errorText(error));
  if (adapters.size === 0) say(byId('adapters-help'), '');
  byId('problem').scrollIntoView({ block: 'nearest' });
}

/** A server that does not train has no files. @param {string} [after] */
async function loadFiles(after) {
  const query = new URLSearchParams({ limit: String(PAGE), ...(after && { after }) });
  try {
    const page = await requestJson(`v1/files?${query}`, { isQuiet: true });
    files = [...(after === undefined ? [] : files), ...page.data];
    byId('files-section').hidden = false;
    byId('more-files').hidden = !page.has_more;
    listFiles();
  } catch {
    byId('files-section').hidden = true;
  }
}

function listFiles() {
  byId('files').hidden = files.length === 0;
  say(byId('files-help'), files.length === 0 ? 'No files. Jobs upload theirs here.' : '');
  showFiles(
    files.map((file) => [
      file.filename,
      size(file.bytes),
      dateAndTime(file.created_at),
      file.purpose,
      el(
        'span',
        { className: 'row actions' },
        el(
          'button',
          {
            type: 'button',
            className: 'small',
            'aria-label': `Download ${file.filename}`,
            onclick: () =>
              saveFile(`v1/files/${file.id}/content`, file.filename).catch(showProblem),
          },
          'Download',
        ),
        el(
          'button',
          {
            type: 'button',
            className: 'small danger',
            'aria-label': `Delete ${file.filename}`,
            onclick: () => void removeFile(file),
          },
          'Delete',
        ),
      ),
    ]),
  );
}

/** @param {FileObject} file */
async function removeFile({ id, filename, bytes }) {
  const isSure = await confirmed({
    title: `Delete ${filename}?`,
    text: `${size(bytes)}. Jobs that already train on it continue; a waiting job that needs it fails.`,
    action: 'Delete the file',
  });
  if (!isSure) return;
  try {
    await request(`v1/files/${id}`, { method: 'DELETE' });
    files = files.filter((file) => file.id !== id);
    listFiles();
    say(byId('files-help'), `${filename} is deleted. ${counted(files.length, 'file')} left.`);
  } catch (error) {
    showProblem(error);
  }
}
