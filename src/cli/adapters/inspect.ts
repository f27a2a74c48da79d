// lorikeet adapters inspect and verify: what a version's manifest says, and whether its files are that.
import { inspectAdapter } from '../../../adapters/peft/inspect.ts';
import { fetchVersion } from '../../../adapters/repository/fetch.ts';
import type { VersionManifest } from '../../../adapters/repository/manifest.ts';
import { cardRows, formatRows, readCard } from '../../contracts/evaluation-card.ts';
import { formatBytes, formatTime } from '../table.ts';
import { type AdapterContext, findVersion } from './context.ts';

/** By the manifest alone. */
export async function inspect(context: AdapterContext, reference: string): Promise<void> {
  const manifest = await findVersion(context, reference);
  context.answer(manifest, describe(manifest));
}

function describe(manifest: VersionManifest): string {
  const { name, version, rank, targets, digest, job, metrics } = manifest;
  const rows: [string, string][] = [
    ['adapter', `${name}@${version}`],
    ['published', `${formatTime(manifest.created_at)} UTC`],
    ['rank', `${rank}`],
    ['targets', targets.join(' ')],
    ['digest', digest],
    ['base', manifest.base_digest ?? 'not recorded'],
    ...Object.entries(manifest.files).map(([file, { byteSize, sha256 }]): [string, string] => [
      file,
      `${formatBytes(byteSize)}, SHA-256 ${sha256}`,
    ]),
    ...(job === undefined ? [] : [['job', job] as [string, string]]),
    ...Object.entries(metrics ?? {}).flatMap(([key, value]) => describeMetric(key, value)),
  ];
  return formatRows(rows);
}

function describeMetric(key: string, value: unknown): [string, string][] {
  const card = readCard(value);
  if (!card) return [[key, JSON.stringify(value)]];
  return cardRows(card).map(([name, text], i) => [i === 0 ? key : '', `${name}: ${text}`]);
}

/** By every byte. */
export async function verify(context: AdapterContext, reference: string): Promise<void> {
  const { repository, signal, progress } = context;
  const manifest = await findVersion(context, reference);
  const files = await fetchVersion(repository, manifest, {
    signal,
    onProgress: (done, total) => progress.update('verify', done, total, formatBytes(total)),
  });
  progress.end();
  const { moduleCount } = await inspectAdapter(files);
  const { name, version, digest } = manifest;
  context.answer(
    { verified: true, name, version, digest },
    `${name}@${version} is what was published: ${moduleCount} linears, digest ${digest}`,
  );
}
