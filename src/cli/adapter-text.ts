// Published adapters as text: manifests, lists and aliases for people, and alias targets as they are typed.
import { UsageError } from '../common/errors.ts';
import { formatBytes } from '../common/format-bytes.ts';
import { append } from '../common/long-arrays.ts';
import type {
  AdapterAbout,
  AdapterListing,
  Aliases,
  AliasPointer,
  MovedAlias,
  PushedVersion,
  VersionListing,
  VersionManifest,
} from '../compose/adapters.ts';
import { cardRows, formatRows, readCard } from '../contracts/evaluation-card.ts';
import type { FileDigest, TrainingOrigin } from '../contracts/training-origin.ts';
import { formatTable, formatTime } from './table.ts';

/** The flags that specify an alias's target, in addition to a version. */
export interface TargetFlags {
  readonly split?: string;
  readonly rollback?: true;
}

/** Parses an alias's target. Undefined means its previous target. Throws `UsageError` unless exactly one is given. */
export function parseTarget(
  version: string | undefined,
  { split, rollback }: TargetFlags,
): AliasPointer | undefined {
  const targets = [version, split, rollback].filter((one) => one !== undefined);
  if (targets.length !== 1) {
    throw new UsageError('alias: needs one of VERSION, --split and --rollback');
  }
  if (split !== undefined) return parseSplit(split);
  return version === undefined ? undefined : { version: parseVersion(version) };
}

function parseVersion(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new UsageError(`${text}: must be a version number, such as 3`);
}

/** Parses the percentage and version of each share, such as `90:3,10:4`. */
function parseSplit(text: string): AliasPointer {
  const split = text.split(',').map((share) => {
    const [, percent, version] = /^(\d{1,3}(?:\.\d{1,3})?):([1-9]\d{0,8})$/.exec(share) ?? [];
    if (!version) throw new UsageError(`--split: ${share} must be PERCENT:VERSION, such as 10:4`);
    if (!(Number(percent) > 0)) throw new UsageError(`--split: ${share} must be a share above 0%`);
    return { percent: Number(percent), version: Number(version) };
  });
  if (split.length < 2 || split.length > 4)
    throw new UsageError('--split: must have two to four shares; for one, give its VERSION');
  const sum = split.reduce((total, { percent }) => total + percent, 0);
  if (Math.abs(sum - 100) > 1e-6) {
    throw new UsageError(`--split: the shares add up to ${sum}%, not to 100%`);
  }
  return { split };
}

/** Describes what a push has published and how requests name it. @param aliases the requested aliases */
export function describePush(
  { manifest, isNew }: PushedVersion,
  aliases: readonly string[],
): string {
  const { name, version, rank, targets, files, base_digest: baseDigest } = manifest;
  if (!isNew) {
    return `${name}@${version} already has this content: nothing new is published\nTo move an alias back to it: lorikeet adapters alias ${name} latest ${version}`;
  }
  const size = formatBytes(files['adapter_model.safetensors'].byteSize);
  const models = [name, ...[...new Set(['latest', ...aliases])].map((alias) => `${name}:${alias}`)];
  return [
    `${name}@${version} is published (rank ${rank}, ${targets.join(' ')}, ${size})`,
    `Request it as model ${models.map((model) => `"${model}"`).join(' or ')}`,
    ...(baseDigest
      ? []
      : ['Its base is not recorded: --base MODEL checks the shapes and records it']),
  ].join('\n');
}

/** Names an alias's new target, and says how to move it back. */
export function describeAlias({ name, alias, pointer, previous }: MovedAlias): string {
  const back = previous
    ? `\nTo move it back to ${describePointer(previous)}: lorikeet adapters alias ${name} ${alias} --rollback`
    : '';
  return `${name}:${alias} points to ${describePointer(pointer!)}${back}`;
}

/** Formats a manifest as rows. */
export function describeManifest(manifest: VersionManifest): string {
  const { name, version, rank, targets, digest, job, training, metrics } = manifest;
  const files = Object.entries(manifest.files).map(([file, of]) => fileRow(file, of));
  const rows: TextRow[] = [
    ['adapter', `${name}@${version}`],
    ['published', `${formatTime(manifest.created_at)} UTC`],
    ['rank', `${rank}`],
    ['targets', targets.join(' ')],
    ['digest', digest],
    ['base', manifest.base_digest ?? 'not recorded'],
    ...files,
  ];
  if (job !== undefined) rows.push(['job', job]);
  if (training) append(rows, originRows(training));
  for (const [key, value] of Object.entries(metrics ?? {})) append(rows, metricRows(key, value));
  return formatRows(rows);
}

type TextRow = [name: string, text: string];

function fileRow(name: string, { byteSize, sha256 }: FileDigest): TextRow {
  return [name, `${formatBytes(byteSize)}, SHA-256 ${sha256}`];
}

function originRows({ program, data, validation, init_adapter }: TrainingOrigin): TextRow[] {
  return [
    ['trained by', program],
    fileRow('training file', data),
    ...(validation ? [fileRow('validation file', validation)] : []),
    ...(init_adapter === undefined ? [] : [['started from', init_adapter] satisfies TextRow]),
  ];
}

function metricRows(key: string, value: unknown): TextRow[] {
  const card = readCard(value);
  if (!card) return [[key, JSON.stringify(value)]];
  return cardRows(card).map(([name, text], i) => [i === 0 ? key : '', `${name}: ${text}`]);
}

/** Formats what an owner says about an adapter as rows. */
export function describeAbout({ kind, description, tags, examples }: AdapterAbout): string {
  return formatRows([
    ['kind', kind],
    ['description', description || 'none'],
    ['tags', tags.join(', ') || 'none'],
    ...examples.map((example): TextRow => ['example', example]),
  ]);
}

/** Formats a tenant's adapters as a table. */
export function describeAdapters(adapters: readonly AdapterListing[]): string {
  const rows = adapters.map(({ name, versions, aliases, rank, created_at, description }) => [
    name,
    `${versions.length}`,
    `${rank}`,
    formatTime(created_at),
    Object.entries(aliases)
      .map(([alias, pointer]) => `${alias} → ${describePointer(pointer)}`)
      .join(', '),
    description,
  ]);
  return formatTable([
    ['NAME', 'VERSIONS', 'RANK', 'PUBLISHED', 'ALIASES', 'DESCRIPTION'],
    ...rows,
  ]);
}

/** Formats the versions of a name as a table. */
export function describeVersions({ aliases, versions }: VersionListing): string {
  const rows = versions.map((manifest) => [
    `${manifest.name}@${manifest.version}`,
    `${manifest.rank}`,
    formatBytes(manifest.files['adapter_model.safetensors'].byteSize),
    formatTime(manifest.created_at),
    manifest.digest.slice(0, 12),
    describeAliasesOf(manifest.version, aliases),
  ]);
  return formatTable([['VERSION', 'RANK', 'SIZE', 'PUBLISHED', 'DIGEST', 'ALIASES'], ...rows]);
}

/** Lists the aliases that point to a version, with the version's share. */
function describeAliasesOf(version: number, aliases: Aliases['aliases']): string {
  const all = Object.entries(aliases).flatMap(([alias, pointer]) => {
    if ('version' in pointer) return pointer.version === version ? [alias] : [];
    const share = pointer.split.find((one) => one.version === version);
    return share ? [`${alias} (${share.percent}%)`] : [];
  });
  return all.join(', ');
}

/** Formats a pointer, such as `3` or `3 (90%), 4 (10%)`. */
function describePointer(pointer: AliasPointer): string {
  if ('version' in pointer) return `${pointer.version}`;
  return pointer.split.map(({ version, percent }) => `${version} (${percent}%)`).join(', ');
}
