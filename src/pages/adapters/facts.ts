// Facts about adapters, as the table and the page of each show them.
import type { Adapter } from '../../contracts/management-api.ts';
import { accuracyOf } from '../fine-tuning/facts.ts';
import { ago, counted, dateAndTime, figure, percent, size } from '../format.ts';
import type { Alias } from '../store/release-plan.ts';

/** A version of an adapter. */
export type Version = Adapter['versions'][number];

/** The aliases that jobs create: of a fine-tuned model and of its checkpoints. */
const MADE_BY_JOBS = /^[0-9a-f]{24}(?:\.ckpt-step-(\d+))?$/;

/** An adapter's purpose. */
export type Kind = 'chat' | 'classifier' | 'embedding';

/** The kinds for people. */
export const KINDS: Readonly<Record<Kind, string>> = {
  chat: 'chat',
  classifier: 'classifier',
  embedding: 'embeddings',
};

/** Whether an alias was created by a job. People do not move it. */
export function isMadeByJob({ alias }: Pick<Alias, 'alias'>): boolean {
  return MADE_BY_JOBS.test(alias);
}

/** The alias that the name alone means; undefined if no version is released. */
export function latestOf({ aliases }: Adapter): Alias | undefined {
  return aliases.find(({ alias }) => alias === 'latest');
}

/** The version that the name alone means, else the newest. */
export function currentVersion(adapter: Adapter): Version | undefined {
  const leadsTo = latestOf(adapter)?.leads_to[0]?.version;
  return adapter.versions.find(({ version }) => version === leadsTo) ?? adapter.versions[0];
}

/** Returns the adapter's purpose. */
export function kindOf(adapter: Adapter): Kind {
  return currentVersion(adapter)?.classes == null ? adapter.about.kind : 'classifier';
}

/** A model that can be tried even if the name alone is none. */
export function modelNameOf(adapter: Adapter): string {
  return latestOf(adapter) ? adapter.name : `${adapter.name}@${adapter.versions[0]?.version}`;
}

/** The aliases that lead to a version. */
export function aliasesTo({ aliases }: Adapter, { version }: Version): readonly Alias[] {
  return aliases.filter(({ leads_to }) => leads_to.some((to) => to.version === version));
}

/** The step of the checkpoint that a version is; undefined if it is none, or has another alias. */
export function checkpointStep(adapter: Adapter, version: Version): string | undefined {
  const steps = aliasesTo(adapter, version).map(({ alias }) => MADE_BY_JOBS.exec(alias)?.[1]);
  return steps.every((step) => step !== undefined) ? steps[0] : undefined;
}

/** Summarizes a version's evaluation; empty if there is none. */
export function evaluationText({ evaluation }: Version): string {
  if (!evaluation) return '';
  const pair = (name: string) => ({ base: evaluation[`base_${name}`], adapter: evaluation[name] });
  const pairs = [
    { name: 'validation accuracy', values: accuracyOf(evaluation), format: percent },
    { name: 'reward', values: pair('reward'), format: figure },
    { name: 'validation loss', values: pair('validation_loss'), format: figure },
  ];
  const measured = pairs.flatMap(({ name, values: { base, adapter }, format }) =>
    typeof base === 'number' && typeof adapter === 'number'
      ? [`${name} ${format(base)} → ${format(adapter)}`]
      : [],
  );
  return [...measured.slice(0, 1), ...gatesText(evaluation)].join(', ');
}

function gatesText({ gates }: NonNullable<Version['evaluation']>): string[] {
  if (!Array.isArray(gates) || gates.length === 0) return [];
  const failed = gates.filter(({ passed }) => !passed).map(({ gate }) => gate);
  return [
    failed.length > 0 ? `failed: ${failed.join(', ')}` : `passed ${counted(gates.length, 'gate')}`,
  ];
}

/** Whether the maker of a version is a training loop, not a job. */
export function isRun(job: string): boolean {
  return job.startsWith('tinker-');
}

/** Returns the origin of the current version. */
export function originOf(adapter: Adapter): { text: string; href?: string } {
  const { job = null, training = null } = currentVersion(adapter) ?? {};
  if (!adapter.is_writable) return { text: adapter.owner };
  if (job === null) return { text: training ? 'trained, then pushed' : 'pushed' };
  return { text: isRun(job) ? 'training loop' : 'job', href: `fine-tuning#${job}` };
}

/** The requests that an adapter got from this server; undefined if the key may not see them. */
export function requestsOf({ is_writable: isWritable, versions }: Adapter): number | undefined {
  if (!isWritable) return undefined;
  return versions.reduce((sum, { traffic }) => sum + (traffic?.requests ?? 0), 0);
}

/** Says when an adapter was last used; empty if the key may not see it. */
export function lastUseText(
  { is_writable: isWritable, last_used_at: lastUsedS }: Adapter,
  nowS: number,
): string {
  if (!isWritable) return '';
  return lastUsedS === null ? 'not since the server started' : ago(nowS - lastUsedS);
}

type Fact = readonly [name: string, text: string | undefined];

/** The facts of an adapter's page. `base`: the name of the served one. */
export function factsOf(adapter: Adapter, base: string, nowS: number): readonly Fact[] {
  const { versions } = adapter;
  const current = currentVersion(adapter);
  if (!current) return [];
  const bytes = versions.reduce((sum, version) => sum + version.bytes, 0);
  return [
    ['Base', { served: base, other: 'another base', unknown: 'not recorded' }[current.base]],
    [
      'Version',
      `${current.version}, ${dateAndTime(current.created_at)}, rank ${current.rank}, ${size(current.bytes)}`,
    ],
    ['Size', versions.length > 1 ? `${size(bytes)} in ${versions.length} versions` : undefined],
    ['Classes', current.classes === null ? undefined : String(current.classes)],
    ['Origin', originOf(adapter).text],
    ['Trained on', trainingText(current)],
    ['Evaluation', capitalized(evaluationText(current)) || undefined],
    ['Last used', lastUseText(adapter, nowS) || undefined],
  ];
}

function trainingText({ training }: Version): string | undefined {
  if (!training) return undefined;
  const held = training.validation_file;
  return `${size(training.training_file.bytes)} of rows${held ? `, validated on ${size(held.bytes)}` : ''}`;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Returns the words of a text, such as tags between commas. */
export function wordsOf(text: string, separator: string): string[] {
  return text
    .split(separator)
    .map((word) => word.trim())
    .filter(Boolean);
}
