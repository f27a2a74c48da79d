// Short facts about a published adapter, as several parts of its card show them. Pure: touches no element.
import { ago, counted, dateAndTime, figure, percent, size } from './format.js';
import { accuracyOf } from './job-facts.js';

/** @typedef {import('../contracts/management-api.ts').Adapter} Adapter */
/** @typedef {Adapter['versions'][number]} Version */
/** @typedef {import('../contracts/management-api.ts').MetricsStatus['usage'][number]} Usage */

/** The aliases that jobs create: of a fine-tuned model and of its checkpoints. */
export const MADE_BY_JOBS = /^[0-9a-f]{24}(?:\.ckpt-step-(\d+))?$/;

/** @typedef {'chat' | 'classifier' | 'embedding'} Kind */

/** @type {Readonly<Record<Kind, string>>} */
export const KINDS = { chat: 'chat', classifier: 'classifier', embedding: 'embeddings' };

/** Whether the adapter's name alone is a model: the alias `latest` exists. @param {Adapter} adapter */
export function isReleased({ aliases }) {
  return aliases.some(({ alias }) => alias === 'latest');
}

/** The version that the name alone means, else the newest. @param {Adapter} adapter */
export function currentVersion({ aliases, versions }) {
  const leadsTo = aliases.find(({ alias }) => alias === 'latest')?.leads_to[0]?.version;
  return versions.find(({ version }) => version === leadsTo) ?? versions[0];
}

/** Returns the adapter's purpose. @param {Adapter} adapter @returns {Kind} */
export function kindOf(adapter) {
  return currentVersion(adapter)?.classes == null ? adapter.about.kind : 'classifier';
}

/** The step of the checkpoint that a version is; undefined if it is none, or has another alias. @param {Adapter} adapter @param {Version} version */
export function checkpointStep({ aliases }, { version }) {
  const steps = aliases
    .filter(({ leads_to }) => leads_to.some((to) => to.version === version))
    .map(({ alias }) => MADE_BY_JOBS.exec(alias)?.[1]);
  return steps.length > 0 && steps.every((step) => step !== undefined) ? steps[0] : undefined;
}

/** Summarizes a version's evaluation; empty if there is none. @param {Version} version */
export function evaluationText({ evaluation }) {
  if (!evaluation) return '';
  const { validation_loss: loss, base_validation_loss: baseLoss } = evaluation;
  const { base, adapter } = accuracyOf(evaluation);
  const gates = gatesText(evaluation);
  if (typeof adapter === 'number' && typeof base === 'number') {
    return `validation accuracy ${percent(base)} → ${percent(adapter)}${gates}`;
  }
  const { reward, base_reward: baseReward } = evaluation;
  if (typeof reward === 'number' && typeof baseReward === 'number') {
    return `reward ${figure(baseReward)} → ${figure(reward)}${gates}`;
  }
  if (typeof loss === 'number' && typeof baseLoss === 'number') {
    return `validation loss ${figure(baseLoss)} → ${figure(loss)}${gates}`;
  }
  return gates.replace(/^, /, '');
}

/** @param {NonNullable<Version['evaluation']>} evaluation */
function gatesText({ gates }) {
  if (!Array.isArray(gates) || gates.length === 0) return '';
  const failed = gates.filter(({ passed }) => !passed).map(({ gate }) => gate);
  if (failed.length > 0) return `, failed: ${failed.join(', ')}`;
  return `, passed ${counted(gates.length, 'gate')}`;
}

/**
 * The facts of a card.
 * @param {Adapter} adapter
 * @param {{ base: string, usages: readonly Usage[], nowS: number }} options base: the name of the served one
 * @returns {(readonly [name: string, text: string])[]}
 */
export function cardFacts(adapter, { base, usages, nowS }) {
  const { versions, is_writable: isWritable, last_used_at: lastUsedS } = adapter;
  const current = currentVersion(adapter);
  if (!current) return [];
  const { training } = current;
  const bytes = versions.reduce((sum, version) => sum + version.bytes, 0);
  const held = training?.validation_file;
  const used = lastUsedS === null ? 'not since the server started' : ago(nowS - lastUsedS);
  const requests = usageText(usages);
  const evaluation = evaluationText(current);
  /** @type {(readonly [name: string, text: string])[]} */
  const facts = [
    ['Base', { served: base, other: 'another base', unknown: 'not recorded' }[current.base]],
    [
      'Version',
      `${current.version}, ${dateAndTime(current.created_at)}, rank ${current.rank}, ${size(current.bytes)}`,
    ],
    ['Size', versions.length > 1 ? `${size(bytes)} in ${versions.length} versions` : ''],
    ['Classes', current.classes ? String(current.classes) : ''],
    [
      'Trained on',
      training
        ? `${size(training.training_file.bytes)} of rows${held ? `, validated on ${size(held.bytes)}` : ''}`
        : '',
    ],
    ['Evaluation', evaluation.charAt(0).toUpperCase() + evaluation.slice(1)],
    ['Last used', isWritable ? `${used}${requests}` : ''],
  ];
  return facts.filter(([, text]) => text !== '');
}

/** @param {readonly Usage[]} usages */
function usageText(usages) {
  if (usages.length === 0) return '';
  const tenants = usages
    .toSorted((a, b) => b.requests - a.requests)
    .map(({ tenant, requests }) => `${tenant} ${requests}`);
  return `; requests since the server started: ${tenants.join(', ')}`;
}
