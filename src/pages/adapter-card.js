// An adapter on the adapters page: its purpose and origin, its names, and its folded parts: a panel to try it, the
// form of its description, its training and its versions.
import { createAboutForm } from './adapter-about.js';
import { cardFacts, currentVersion, isReleased, KINDS, kindOf } from './adapter-facts.js';
import { createAliases } from './adapter-releases.js';
import { createTryPanel } from './adapter-try.js';
import { createVersions } from './adapter-versions.js';
import { requestJson } from './api.js';
import { definitions, el, fill, setText } from './dom.js';
import { counted } from './format.js';
import { SETTINGS, statusWord } from './job-facts.js';
import { copyButton, dangerButton, tryLink } from './widgets.js';

/** @typedef {import('../contracts/management-api.ts').Adapter} Adapter */
/** @typedef {import('../contracts/management-api.ts').MetricsStatus['usage'][number]} Usage */
/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */

/**
 * @typedef {object} CardOptions
 * @property {string} base the name of the served base
 * @property {readonly Usage[]} usages of this adapter, by tenant
 * @property {(...changes: Change[]) => Promise<void>} change sends the requests in order and shows the adapter's new state
 * @property {(change: Change) => Promise<Adapter>} send sends one request, and returns the new state without showing it
 * @property {(adapter: Adapter) => void} show shows a new state
 * @property {(error: unknown) => void} fail shows an error
 */

/** A request below the adapter's path. @typedef {{ path: string, method?: string, json?: object }} Change */

/** Creates the card of a published adapter. @param {Adapter} adapter @param {CardOptions} options */
export function createAdapterCard(adapter, options) {
  const { name, id, about, is_writable: isWritable } = adapter;
  const kind = kindOf(adapter);
  const nowS = Date.now() / 1000;
  const current = currentVersion(adapter);
  const isUsable = current !== undefined && current.base !== 'other';
  const isChat = isReleased(adapter) && isUsable && kind === 'chat';
  return el(
    'li.panel.adapter',
    { id: `adapter-${id}` },
    el(
      'div.head',
      el('h2', { tabIndex: -1 }, name, ...pills(adapter)),
      el(
        'div.row',
        isReleased(adapter) && copyNameButton(name),
        isChat && tryLink('a.button.small', { model: name, beside: options.base }),
        isWritable && deleteButton(adapter, options),
      ),
    ),
    ...purpose(about.description, about.tags),
    !isReleased(adapter) && unreleasedNote(adapter),
    el('dl.pairs', ...definitions(cardFacts(adapter, { ...options, nowS }))),
    createAliases(adapter, options),
    isUsable && kind !== 'chat' && createTryPanel(adapter, kind, options.base),
    isWritable && createAboutForm(adapter, options),
    isWritable && current?.job != null && trainingPart(id, current.job),
    createVersions(adapter, options),
  );
}

/** @param {Adapter} adapter */
function pills(adapter) {
  const isOfOther = currentVersion(adapter)?.base === 'other';
  return [
    el('span.pill', KINDS[kindOf(adapter)]),
    adapter.is_writable ? null : el('span.pill', `${adapter.owner}, read only`),
    isOfOther && el('span.pill.paused', 'for another base'),
    isReleased(adapter)
      ? el('span.pill.succeeded', 'published')
      : el('span.pill.paused', 'not released'),
  ];
}

/** Whether the maker of a version is a training loop, not a job. @param {string} id */
function isRun(id) {
  return id.startsWith('tinker-');
}

/** Says why the name alone is not a model, and what to do. @param {Adapter} adapter */
function unreleasedNote({ versions }) {
  const job = versions[0]?.job ?? null;
  const why = el('span');
  if (job !== null && isRun(job)) {
    fill(why, 'Made by a ', el('a', { href: `fine-tuning#${job}` }, 'training loop'), '. ');
  } else if (job !== null) void explainJob(job, why);
  return el(
    'p.warning',
    why,
    'No version is called latest, so requests for the name alone get 404. Try a version, or promote one.',
  );
}

/** @param {string} id @param {HTMLElement} parent */
async function explainJob(id, parent) {
  const link = el('a', { href: `fine-tuning#${id}` }, 'job');
  fill(parent, 'Its ', link, ' has not succeeded. ');
  const job = await readJob(id);
  if (!job) return;
  const outcome = job.error ? `failed: ${job.error.message}` : `is ${statusWord(job)}`;
  fill(parent, 'Its ', link, ` ${outcome}. `);
}

/** Job id → the job; undefined if it is gone. @type {Map<string, Promise<Job | undefined>>} */
const jobs = new Map();

/** Requests each job once. @param {string} id */
function readJob(id) {
  const reading =
    jobs.get(id) ??
    requestJson(`v1/fine_tuning/jobs/${id}`, { isQuiet: true }).catch(() => undefined);
  jobs.set(id, reading);
  return reading;
}

/** @param {string} id of a training loop */
function runLink(id) {
  return el('p', el('a', { href: `fine-tuning#${id}` }, 'The training loop, with its curve'));
}

/** The data and the settings of the job, which are read when the part is opened. @param {string} id @param {string} jobId */
function trainingPart(id, jobId) {
  if (isRun(jobId)) return runLink(jobId);
  const facts = el('dl.pairs');
  const help = el('p.help', { role: 'status' }, 'Loading …');
  const onOpen = async () => {
    const job = await readJob(jobId);
    setText(help, job ? '' : 'The job has been deleted.');
    if (!job) return;
    const [trained, held] = await Promise.all([
      fileName(job.training_file),
      fileName(job.validation_file),
    ]);
    const settings = SETTINGS.map(([name, read]) => /** @type {const} */ ([name, read(job)]));
    const entries = [
      .../** @type {const} */ ([
        ['Training file', trained],
        ['Validation file', held],
      ]),
      ...settings,
    ].filter(([, value]) => value !== undefined);
    fill(facts, ...definitions(entries.map(([name, value]) => [name, String(value)])));
  };
  return el(
    'details.more',
    { id: `training-${id}`, ontoggle: onOpen },
    el('summary', 'Training'),
    facts,
    help,
    el('p', el('a', { href: `fine-tuning#${jobId}` }, 'The job, with its curves')),
  );
}

/** @param {string | null} id */
async function fileName(id) {
  if (id === null) return undefined;
  /** @type {{ filename: string }} */
  const { filename } = await requestJson(`v1/files/${id}`, { isQuiet: true }).catch(() => ({
    filename: 'deleted',
  }));
  return filename;
}

/** Creates the card of an adapter in the server's local folder. @param {import('../contracts/openai.ts').Model} model @param {string} base @param {readonly Usage[]} usages */
export function createFolderCard({ id, description, tags = [] }, base, usages) {
  const requests = usages.reduce((sum, usage) => sum + usage.requests, 0);
  const used = requests > 0 ? ` ${counted(requests, 'request')} since the server started.` : '';
  return el(
    'li.panel.adapter',
    el(
      'div.head',
      el('h2', id, el('span.pill', 'local folder')),
      el('div.row', copyNameButton(id), tryLink('a.button.small', { model: id, beside: base })),
    ),
    ...purpose(description, tags),
    el('p.help', `In the server’s adapter folder. It has no versions.${used}`),
  );
}

/** @param {string | undefined} description @param {readonly string[]} tags */
function purpose(description, tags) {
  return [
    el(`p.${description ? 'lead' : 'help'}`, description || 'No description.'),
    tags.length > 0 && el('p.tags', ...tags.map((tag) => el('span.pill', tag))),
  ];
}

/** @param {Adapter} adapter @param {CardOptions} options */
function deleteButton({ name, versions, aliases }, { change }) {
  return dangerButton('Delete', ` ${name}`, () => change({ path: '', method: 'DELETE' }), {
    title: `Delete ${name}?`,
    text: `This deletes ${counted(versions.length, 'version')} and ${counted(aliases.length, 'alias', 'aliases')}. Requests for this model will fail with 404.`,
    action: 'Delete adapter',
  });
}

/** @param {string} name */
function copyNameButton(name) {
  return copyButton(() => name, name, 'Copy name');
}
