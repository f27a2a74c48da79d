// Changes to the aliases of a name, as pure functions. A change returns the same object if it has nothing to do.
import { ServeError } from '../../src/common/errors.ts';
import {
  type Aliases,
  type AliasPointer,
  CHECKPOINT_ALIAS,
  LATEST,
  pointerOf,
  versionsOf,
} from './manifest.ts';

/** Leads an alias to a target, and keeps its former target for a rollback. */
export function withPointer(now: Aliases, alias: string, pointer: AliasPointer): Aliases {
  const before = pointerOf(now.aliases, alias);
  if (before && isSamePointer(before, pointer)) return now;
  const aliases = { ...now.aliases, [alias]: pointer };
  const previous = before ? { ...now.previous, [alias]: before } : now.previous;
  return { ...now, aliases, previous };
}

/** Removes an alias. */
export function withoutPointer(now: Aliases, alias: string): Aliases {
  if (!pointerOf(now.aliases, alias) && !pointerOf(now.previous, alias)) return now;
  const { [alias]: _removed, ...aliases } = now.aliases;
  const { [alias]: _before, ...previous } = now.previous;
  return { ...now, aliases, previous };
}

/**
 * Leads aliases to a version that was just published, unless they have led to it or to a later one before. So a slow or
 * repeated publication undoes neither a later one nor a rollback.
 */
export function withPublished(now: Aliases, aliases: readonly string[], version: number): Aliases {
  if (now.removing.includes(version)) return now;
  let next = now;
  for (const alias of aliases) {
    const known = [pointerOf(now.aliases, alias), pointerOf(now.previous, alias)];
    const furthest = Math.max(
      0,
      ...known.flatMap((pointer) => (pointer ? versionsOf(pointer) : [])),
    );
    if (furthest < version) next = withPointer(next, alias, { version });
  }
  return next;
}

/** Marks versions as being removed: no alias can be led or rolled back to them. Throws `ServeError` (400) if one leads there. */
export function withRemoving(now: Aliases, versions: readonly number[]): Aliases {
  const isAffected = (pointer: AliasPointer) =>
    versionsOf(pointer).some((v) => versions.includes(v));
  const users = Object.entries(now.aliases).flatMap(([alias, to]) =>
    isAffected(to) ? [alias] : [],
  );
  if (users.length > 0) {
    const which = versions.map((version) => `${now.name}@${version}`).join(', ');
    const message = `${which} is in use: lead ${users.join(', ')} elsewhere first.`;
    throw new ServeError('invalid_request', message, { param: 'version' });
  }
  if (versions.every((version) => now.removing.includes(version))) return now;
  const previous = Object.fromEntries(
    Object.entries(now.previous).filter(([, pointer]) => !isAffected(pointer)),
  );
  const removing = [...new Set([...now.removing, ...versions])];
  return { ...now, previous, removing };
}

/** Lists the aliases of a fine-tuned model: its own, and those of its checkpoints. */
export function modelAliases({ aliases }: Aliases, alias: string): string[] {
  const isCheckpoint = (one: string) => one.startsWith(`${alias}.`) && CHECKPOINT_ALIAS.test(one);
  return Object.keys(aliases).filter((one) => one === alias || isCheckpoint(one));
}

/**
 * Removes a fine-tuned model with these versions. If `latest` led to one of them it leads to `fallback`, or is removed if
 * there is none. Throws `ServeError` (400) if another alias leads to one of them.
 */
export function withoutModel(
  now: Aliases,
  alias: string,
  { removed, fallback }: { removed: readonly number[]; fallback: number | undefined },
): Aliases {
  let next = now;
  for (const own of modelAliases(now, alias)) next = withoutPointer(next, own);
  const latest = pointerOf(next.aliases, LATEST);
  if (latest && 'version' in latest && removed.includes(latest.version)) {
    next = withoutPointer(next, LATEST);
    if (fallback !== undefined) next = withPointer(next, LATEST, { version: fallback });
  }
  return withRemoving(next, removed);
}

/** Notes that versions have been removed. */
export function withRemoved(now: Aliases, versions: readonly number[]): Aliases {
  const removing = now.removing.filter((version) => !versions.includes(version));
  return removing.length === now.removing.length ? now : { ...now, removing };
}

/** Removes all aliases of a name. Its revision continues. */
export function withoutAll(now: Aliases, versions: readonly number[]): Aliases {
  const isEmpty = Object.keys({ ...now.aliases, ...now.previous }).length === 0;
  if (isEmpty && versions.every((version) => now.removing.includes(version))) return now;
  const removing = [...new Set([...now.removing, ...versions])];
  return { ...now, aliases: {}, previous: {}, removing };
}

/** Whether an alias leads to the version. */
export function reaches({ aliases }: Aliases, version: number): boolean {
  return Object.values(aliases).some((pointer) => versionsOf(pointer).includes(version));
}

/** Whether two targets are equal. */
export function isSamePointer(a: AliasPointer, b: AliasPointer): boolean {
  const text = (pointer: AliasPointer) =>
    'version' in pointer
      ? `${pointer.version}`
      : pointer.split.map(({ version, percent }) => `${version}:${percent}`).join();
  return text(a) === text(b);
}
