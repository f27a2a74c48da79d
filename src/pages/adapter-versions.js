// The versions of an adapter: when they were made, their evaluation, download, release and removal. Checkpoints are folded away.
import { checkpointStep, evaluationText, MADE_BY_JOBS } from './adapter-facts.js';
import { openRelease } from './adapter-releases.js';
import { el } from './dom.js';
import { counted, dateAndTime, size } from './format.js';
import { actionButton, dangerButton, downloadFile, tryLink } from './widgets.js';

/** @typedef {import('./adapter-facts.js').Adapter} Adapter */
/** @typedef {import('./adapter-facts.js').Version} Version */
/** @typedef {import('./adapter-card.js').CardOptions} CardOptions */

const FILES = ['adapter_config.json', 'adapter_model.safetensors'];

/** Creates the folded list. @param {Adapter} adapter @param {CardOptions} options */
export function createVersions(adapter, options) {
  const { id, versions } = adapter;
  const isCheckpoint = (/** @type {Version} */ version) =>
    checkpointStep(adapter, version) !== undefined;
  const checkpoints = versions.filter(isCheckpoint);
  const list = (/** @type {readonly Version[]} */ all) =>
    el('ul.versions', ...all.map((version) => versionRow(adapter, version, options)));
  const others = versions.filter((version) => !isCheckpoint(version));
  const folded = (
    /** @type {string} */ part,
    /** @type {string} */ title,
    /** @type {HTMLElement[]} */ ...content
  ) => el('details.more', { id: `${part}-${id}` }, el('summary', title), ...content);
  const ofSteps =
    checkpoints.length > 0
      ? [folded('checkpoints', counted(checkpoints.length, 'checkpoint'), list(checkpoints))]
      : [];
  if (others.length === 0) return ofSteps[0] ?? null;
  return folded('versions', counted(others.length, 'version'), list(others), ...ofSteps);
}

/** @param {Adapter} adapter @param {Version} version @param {CardOptions} options */
function versionRow(adapter, version, options) {
  const { name, aliases, is_writable: isWritable } = adapter;
  const { version: number, bytes, rank, created_at: createdS, job, targets } = version;
  const leading = aliases.filter(
    ({ alias, leads_to }) =>
      !MADE_BY_JOBS.test(alias) && leads_to.some((to) => to.version === number),
  );
  const step = checkpointStep(adapter, version);
  const facts = [
    dateAndTime(createdS),
    size(bytes),
    `rank ${rank}`,
    counted(targets.length, 'target module'),
    evaluationText(version),
  ];
  return el(
    'li',
    el(
      'div',
      el('strong', `Version ${number}`),
      ...leading.map(({ alias }) => el('span.pill.running', alias)),
      step !== undefined && el('span.pill', `step ${step}`),
      el('p.help', facts.filter(Boolean).join(' · ')),
      el(
        'p.help',
        el('code', version.digest.slice(0, 12)),
        ' ',
        job !== null && el('a', { href: `fine-tuning#${job}` }, 'Job'),
      ),
    ),
    el(
      'div.row',
      version.base !== 'other' && tryLink('a.button.small', { model: `${name}@${number}` }),
      downloadButton(adapter, number, options),
      isWritable && promoteButton(adapter, number, options),
      isWritable && deleteVersionButton(adapter, version, options),
    ),
  );
}

/** @param {Adapter} adapter @param {number} version @param {CardOptions} options */
function downloadButton({ name, owner }, version, { fail }) {
  const files = `v1/adapters/${encodeURIComponent(name)}/versions/${version}/files`;
  return actionButton('Download', ` ${name}@${version}`, async () => {
    try {
      for (const file of FILES) await downloadFile(`${files}/${file}?owner=${owner}`, file);
    } catch (error) {
      fail(error);
    }
  });
}

/** @param {Adapter} adapter @param {number} version @param {CardOptions} options */
function promoteButton(adapter, version, options) {
  const latest = adapter.aliases.find(({ alias }) => alias === 'latest')?.leads_to;
  if (latest?.length === 1 && latest[0]?.version === version) return null;
  return actionButton('Promote', ` ${adapter.name}@${version}`, () =>
    openRelease(adapter, { alias: 'latest', version }, options),
  );
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
