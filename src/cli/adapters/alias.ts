// lorikeet adapters alias: where an alias leads, from the next request on.
import {
  type Aliases,
  type AliasPointer,
  pointerOf,
} from '../../../adapters/repository/manifest.ts';
import { UsageError } from '../../common/errors.ts';
import { type AdapterContext, noAdapter } from './context.ts';
import { describePointer, parseSplit, parseVersion } from './pointer.ts';

export interface AliasOptions {
  readonly version?: string | undefined;
  readonly split?: string;
  readonly rollback?: true;
}

export async function moveAlias(
  context: AdapterContext,
  { name, alias }: { name: string; alias: string },
  options: AliasOptions,
): Promise<void> {
  const { repository, tenant, signal } = context;
  const target = parseTarget(options);
  const of = { tenant, name };
  if ((await repository.listVersions(tenant, name, { signal })).length === 0) {
    throw await noAdapter(context, name);
  }
  const aliases = await (target
    ? repository.moveAlias(of, alias, target, { signal })
    : repository.rollback(of, alias, { signal }));
  context.answer({ name, alias, ...stateOf(aliases, alias) }, describe(aliases, alias));
}

/** Undefined: back to where it led before. */
function parseTarget({ version, split, rollback }: AliasOptions): AliasPointer | undefined {
  const given = [version, split, rollback].filter((one) => one !== undefined);
  if (given.length !== 1) {
    throw new UsageError('alias: needs one of VERSION, --split and --rollback');
  }
  if (rollback) return undefined;
  return split === undefined ? { version: parseVersion(version!) } : parseSplit(split);
}

function stateOf({ aliases, previous, revision }: Aliases, alias: string) {
  return { pointer: pointerOf(aliases, alias), previous: pointerOf(previous, alias), revision };
}

function describe(aliases: Aliases, alias: string): string {
  const { pointer, previous } = stateOf(aliases, alias);
  const back = previous
    ? `\nBack to ${describePointer(previous)}: lorikeet adapters alias ${aliases.name} ${alias} --rollback`
    : '';
  return `${aliases.name}:${alias} leads to ${describePointer(pointer!)}${back}`;
}
