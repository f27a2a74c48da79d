// An adapter on the adapters page: its aliases, its versions with their evaluations, its traffic, and their actions.

import { el } from './dom.js';
import { count, counted, dateAndTime, figure, percent, size } from './format.js';
import { accuraciesOf } from './job-facts.js';
import { actionButton, copyButton, dangerButton, downloadFile, tryLink } from './widgets.js';

/** @typedef {import('../contracts/management-api.ts').Adapter} Adapter */
/** @typedef {Adapter['versions'][number]} Version */
/** @typedef {Adapter['aliases'][number]} Alias */
/** @typedef {import('./server-stats.js').Usage} Usage */

/**
 * @typedef {object} CardOptions
 * @property {readonly Usage[]} usages of this adapter, by tenant
 * @property {(...changes: Change[]) => Promise<void>} change sends the requests in order and shows the adapter's new state
 * @property {(error: unknown) => void} fail shows an error
 */

/** A request below the adapter's path. @typedef {{ path: string, method?: string, json?: object }} Change */

/** The aliases that jobs create: of a fine-tuned model and of its checkpoints. */
const MADE_BY_JOBS = /^[0-9a-f]{24}(?:\.ckpt-step-(\d+))?$/;
const FILES = ['adapter_config.json', 'adapter_model.safetensors'];

/** Creates the card of a published adapter. @param {Adapter} adapter @param {CardOptions} options */
export function createAdapterCard(adapter, options) {
  const { name, owner, versions, aliases, id, is_writable: isWritable } = adapter;
  const latest = versionOf(adapter, 'latest') ?? versions[0];
  const userAliases = aliases.filter(({ alias }) => !MADE_BY_JOBS.test(alias));
  return el(
    'li.panel.adapter',
    el(
      'div.head',
      el(
        'h2',
        name,
        isWritable ? null : el('span.pill', `${owner}, read only`),
        latest?.base === 'other' && el('span.pill.paused', 'for another base'),
      ),
      el(
        'div.row',
        copyNameButton(name),
        latest?.base !== 'other' && tryLink('a.button.small', { model: name }),
        isWritable && deleteButton(adapter, options),
      ),
    ),
    el('p.lead', summaryOf(adapter, latest)),
    usageLine(options.usages),
    el('ul.aliases', ...userAliases.map((alias) => aliasRow(adapter, alias, options))),
    el(
      'details',
      { id: `versions-${id}`, className: 'more' },
      el('summary', counted(versions.length, 'version')),
      el('ul.versions', ...versions.map((version) => versionRow(adapter, version, options))),
    ),
  );
}

/** Creates the card of an adapter in the server's local folder. @param {import('../contracts/openai.ts').Model} model @param {readonly Usage[]} usages */
export function createFolderCard({ id }, usages) {
  const heading = el('h2', id, el('span.pill', 'local folder'));
  return el(
    'li.panel.adapter',
    el(
      'div.head',
      heading,
      el('div.row', copyNameButton(id), tryLink('a.button.small', { model: id })),
    ),
    el('p.lead', 'In the server’s adapter folder. It has no versions.'),
    usageLine(usages),
  );
}

/** @param {Adapter} adapter @param {string} name */
function versionOf({ aliases, versions }, name) {
  const leadsTo = aliases.find(({ alias }) => alias === name)?.leads_to[0]?.version;
  return versions.find(({ version }) => version === leadsTo);
}

/** @param {Adapter} adapter @param {Version | undefined} latest */
function summaryOf({ versions }, latest) {
  const bytes = versions.reduce((sum, version) => sum + version.bytes, 0);
  const facts = [
    latest && `Version ${latest.version}, ${dateAndTime(latest.created_at)}`,
    latest && `rank ${latest.rank}`,
    versions.length > 1 ? `${size(bytes)} in total` : size(bytes),
    latest && evaluationText(latest),
  ];
  return facts.filter(Boolean).join(' · ');
}

/** Summarizes a version's evaluation; empty if there is none. @param {Version} version */
function evaluationText({ evaluation }) {
  if (!evaluation) return '';
  const { validation_loss: loss, base_validation_loss: baseLoss } = evaluation;
  const { base: baseAccuracy, adapter: accuracy } = accuraciesOf(evaluation);
  if (typeof accuracy === 'number' && typeof baseAccuracy === 'number') {
    return `validation accuracy ${percent(baseAccuracy)} → ${percent(accuracy)}`;
  }
  if (typeof loss === 'number' && typeof baseLoss === 'number') {
    return `validation loss ${figure(baseLoss)} → ${figure(loss)}`;
  }
  return '';
}

/** @param {readonly Usage[]} usages */
function usageLine(usages) {
  if (usages.length === 0) return null;
  const tenants = usages
    .toSorted((a, b) => b.requests - a.requests)
    .map(({ tenant, requests }) => `${tenant} ${count(requests)}`);
  return el('p.help', `Requests since the server started: ${tenants.join(', ')}`);
}

/** @param {Adapter} adapter @param {Alias} alias @param {CardOptions} options */
function aliasRow({ name, is_writable: isWritable }, { alias, leads_to, previous }, { change }) {
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

/** @param {Alias['leads_to']} shares */
function sharesText(shares) {
  if (shares.length === 1) return `version ${shares[0]?.version}`;
  return shares.map(({ version, percent: share }) => `${share}% version ${version}`).join(', ');
}

/** @param {Adapter} adapter @param {Version} version @param {CardOptions} options */
function versionRow(adapter, version, options) {
  const { name, owner, aliases, is_writable: isWritable } = adapter;
  const { version: number, bytes, rank, created_at: createdS, job, targets } = version;
  const leading = aliases.filter(({ leads_to }) => leads_to.some((to) => to.version === number));
  const facts = [
    dateAndTime(createdS),
    size(bytes),
    `rank ${rank}`,
    counted(targets.length, 'target module'),
    evaluationText(version),
  ];
  const files = `v1/adapters/${encodeURIComponent(name)}/versions/${number}/files`;
  const download = async () => {
    try {
      for (const file of FILES) await downloadFile(`${files}/${file}?owner=${owner}`, file);
    } catch (error) {
      options.fail(error);
    }
  };
  return el(
    'li',
    el(
      'div',
      el('strong', `Version ${number}`),
      ...leading.map(aliasPill),
      el('p.help', facts.filter(Boolean).join(' · ')),
      el('p.help', el('code', version.digest.slice(0, 12)), ' ', jobLink(job)),
    ),
    el(
      'div.row',
      actionButton('Download', ` ${name}@${number}`, download),
      isWritable && promoteButton(adapter, number, options),
      isWritable && deleteVersionButton(adapter, version, options),
    ),
  );
}

/** @param {string | null} job */
function jobLink(job) {
  return job === null ? null : el('a', { href: `fine-tuning#${job}` }, 'Job');
}

/** @param {Adapter} adapter @param {number} version @param {CardOptions} options */
function promoteButton(adapter, version, { change }) {
  const latest = versionOf(adapter, 'latest')?.version;
  if (latest === version) return null;
  return actionButton('Promote', ` ${adapter.name}@${version} to latest`, () =>
    change({ path: '/aliases/latest', json: { version } }),
  );
}

/** @param {Alias} alias */
function aliasPill({ alias }) {
  const match = MADE_BY_JOBS.exec(alias);
  if (!match) return el('span.pill.running', alias);
  const step = match[1];
  return el('span.pill', step ? `checkpoint, step ${step}` : 'fine-tuned model');
}

/** Deletes a version with the aliases that its job created. @param {Adapter} adapter @param {Version} version @param {CardOptions} options */
function deleteVersionButton({ name, aliases }, { version }, { change }) {
  const pointing = aliases.filter(({ leads_to }) => leads_to.some((to) => to.version === version));
  const jobAliases = pointing.filter(({ alias }) => MADE_BY_JOBS.test(alias));
  const paths = [...jobAliases.map(({ alias }) => `/aliases/${alias}`), `/versions/${version}`];
  const remove = () => change(...paths.map((path) => ({ path, method: 'DELETE' })));
  const button = dangerButton('Delete', ` ${name}@${version}`, remove, {
    title: `Delete ${name}@${version}?`,
    text: 'Running requests finish. If a job created this version, its ft: name is also deleted.',
    action: 'Delete version',
  });
  if (pointing.length > jobAliases.length) {
    button.disabled = true;
    button.title = 'An alias points to this version. Move the alias first.';
  }
  return button;
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
  return copyButton(() => name, `the model name ${name}`);
}
