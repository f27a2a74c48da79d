// lorikeet adapters ls: the adapters of a tenant, or the versions of one of them.
import path from 'node:path';
import { findRefusedFolders } from '../../../adapters/registry/folder-registry.ts';
import {
  type Aliases,
  LATEST,
  pointerOf,
  versionsOf,
} from '../../../adapters/repository/manifest.ts';
import { mapBounded } from '../../common/map-bounded.ts';
import { formatBytes, formatTable, formatTime } from '../table.ts';
import { type AdapterContext, noAdapter } from './context.ts';
import { describePointer } from './pointer.ts';

export async function list(context: AdapterContext, name: string | undefined): Promise<void> {
  return name === undefined ? listNames(context) : listVersions(context, name);
}

async function listNames(context: AdapterContext): Promise<void> {
  const { repository, tenant, signal, answer } = context;
  const names = await repository.listNames(tenant, { signal });
  const rows = await mapBounded(names, async (name) => {
    const versions = await repository.listVersions(tenant, name, { signal });
    const found = await repository.readAliases(tenant, name, { signal });
    const aliases = found?.aliases.aliases ?? {};
    const [latest] = versionsOf(
      pointerOf(aliases, LATEST) ?? { version: versions.at(-1)!.version },
    );
    const { rank, created_at } =
      versions.find(({ version }) => version === latest) ?? versions.at(-1)!;
    return { name, versions: versions.map(({ version }) => version), aliases, rank, created_at };
  });
  const table = rows.map(({ name, versions, aliases, rank, created_at }) => [
    name,
    `${versions.length}`,
    `${rank}`,
    formatTime(created_at),
    describeAliases(aliases),
  ]);
  const heading = ['NAME', 'VERSIONS', 'RANK', 'PUBLISHED', 'ALIASES'];
  const none = `tenant ${tenant} has no adapters in ${repository.label}\nPublish one: lorikeet adapters push DIR --name NAME`;
  answer(rows, rows.length > 0 ? formatTable([heading, ...table]) : none);
  await tellRefused(context);
}

/** The folders of --adapters that a server does not list. Not on stdout, which may be read by a program. */
async function tellRefused({ config, terminal }: AdapterContext): Promise<void> {
  const { adapters: root } = config;
  if (root === undefined) return;
  for (const { name, reason } of await findRefusedFolders(root)) {
    terminal.error(`${path.join(root, name)} is not served: ${reason}\n`);
  }
}

async function listVersions(context: AdapterContext, name: string): Promise<void> {
  const { repository, tenant, signal, answer } = context;
  const versions = await repository.listVersions(tenant, name, { signal });
  if (versions.length === 0) throw await noAdapter(context, name);
  const found = await repository.readAliases(tenant, name, { signal });
  const aliases = found?.aliases.aliases ?? {};
  const table = versions.map((manifest) => [
    `${name}@${manifest.version}`,
    `${manifest.rank}`,
    formatBytes(manifest.files['adapter_model.safetensors'].byteSize),
    formatTime(manifest.created_at),
    manifest.digest.slice(0, 12),
    aliasesOf(aliases, manifest.version),
  ]);
  const heading = ['VERSION', 'RANK', 'SIZE', 'PUBLISHED', 'DIGEST', 'ALIASES'];
  answer({ name, aliases, versions }, formatTable([heading, ...table]));
}

function describeAliases(aliases: Aliases['aliases']): string {
  const all = Object.entries(aliases).map(([alias, to]) => `${alias} → ${describePointer(to)}`);
  return all.join(', ');
}

/** Those that lead to the version, with their share of it. */
function aliasesOf(aliases: Aliases['aliases'], version: number): string {
  const all = Object.entries(aliases).flatMap(([alias, to]) => {
    if ('version' in to) return to.version === version ? [alias] : [];
    const share = to.split.find((one) => one.version === version);
    return share ? [`${alias} (${share.percent} %)`] : [];
  });
  return all.join(', ');
}
