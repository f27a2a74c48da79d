// lorikeet adapters rm and gc: what is no longer wanted, first from readers, a day later from the store.
import { createInterface } from 'node:readline/promises';
import { pointerOf } from '../../../adapters/repository/manifest.ts';
import { UsageError } from '../../common/errors.ts';
import { formatBytes } from '../table.ts';
import { type AdapterContext, findVersion, noAdapter, parseReference } from './context.ts';

const HOUR_MS = 3_600_000;

/** `name@version`: that one; `name:alias`: the alias; `name`: all of it. */
export async function remove(
  context: AdapterContext,
  reference: string,
  { yes }: { yes?: true },
): Promise<void> {
  const { repository, tenant, signal } = context;
  const { name, selector } = parseReference(reference);
  const of = { tenant, name };
  if (selector.kind === 'version') {
    await findVersion(context, reference);
    await confirm(`Remove ${reference}?`, { yes });
    await repository.removeVersion(of, selector.version, { signal });
  } else if (reference.includes(':')) {
    await removeAlias(context, { ...of, alias: selector.alias }, { yes });
  } else {
    const versions = await repository.listVersions(tenant, name, { signal });
    if (versions.length === 0) throw await noAdapter(context, name);
    await confirm(`Remove ${name} with its ${versions.length} versions?`, { yes });
    await repository.removeName(of, { signal });
  }
  const later = reference.includes(':')
    ? ''
    : '\nIts files go with: lorikeet adapters gc (after 24 h)';
  context.answer({ removed: reference, tenant }, `${reference} is removed${later}`);
}

async function removeAlias(
  context: AdapterContext,
  { tenant, name, alias }: { tenant: string; name: string; alias: string },
  options: { yes: true | undefined },
): Promise<void> {
  const { repository, signal } = context;
  const found = await repository.readAliases(tenant, name, { signal });
  if (!found || !pointerOf(found.aliases.aliases, alias)) {
    throw new UsageError(`${name} has no alias ${alias} (lorikeet adapters ls ${name})`);
  }
  await confirm(`Remove the alias ${name}:${alias}?`, options);
  await repository.moveAlias({ tenant, name }, alias, undefined, { signal });
}

async function confirm(question: string, { yes }: { yes: true | undefined }): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY) throw new UsageError(`${question} Say so with --yes`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new UsageError('nothing is removed');
  } finally {
    terminal.close();
  }
}

/** @param graceHours what is younger stays, as somebody may be at work on it */
export async function collect(
  { repository, signal, answer }: AdapterContext,
  { grace }: { grace: string },
): Promise<void> {
  const graceHours = Number(grace);
  if (!/^\d{1,6}(\.\d+)?$/.test(grace)) throw new UsageError('--grace: must be a number of hours');
  const graceMs = graceHours * HOUR_MS;
  const garbage = await repository.collectGarbage({ now: Date.now(), graceMs, signal });
  const { unfinished, removed, bytes } = garbage;
  answer(
    garbage,
    `freed ${formatBytes(bytes)}: ${removed} removed versions, ${unfinished} unfinished publications`,
  );
}
