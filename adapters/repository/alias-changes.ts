// What the aliases of a name are after each kind of change: pure, and without effect on a state that already is so.
import { ServeError } from '../../src/common/errors.ts';
import {
  type Aliases,
  type AliasPointer,
  CHECKPOINT_ALIAS,
  LATEST,
  pointerOf,
  versionsOf,
} from './manifest.ts';

/** The alias leads there; what it led to before is kept for a rollback. */
export function withPointer(now: Aliases, alias: string, pointer: AliasPointer): Aliases {
  const before = pointerOf(now.aliases, alias);
  if (before && isSamePointer(before, pointer)) return now;
  const aliases = { ...now.aliases, [alias]: pointer };
  const previous = before ? { ...now.previous, [alias]: before } : now.previous;
  return { ...now, aliases, previous };
}

export function withoutPointer(now: Aliases, alias: string): Aliases {
  if (!pointerOf(now.aliases, alias) && !pointerOf(now.previous, alias)) return now;
  const { [alias]: _gone, ...aliases } = now.aliases;
  const { [alias]: _before, ...previous } = now.previous;
  return { ...now, aliases, previous };
}

/**
 * After a publication: each alias leads to the version, unless it has led there or further already. So a publication
 * that is slow, or finished by a second try, takes back neither a later one nor a rollback.
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

/** While a version is removed no alias may be led to it, and none can be rolled back to it. */
export function withRemoving(now: Aliases, versions: readonly number[]): Aliases {
  const isGoing = (pointer: AliasPointer) => versionsOf(pointer).some((v) => versions.includes(v));
  const users = Object.entries(now.aliases).flatMap(([alias, to]) => (isGoing(to) ? [alias] : []));
  if (users.length > 0) {
    const which = versions.map((version) => `${now.name}@${version}`).join(', ');
    const message = `${which} is in use: lead ${users.join(', ')} elsewhere first.`;
    throw new ServeError('invalid_request', message, { param: 'version' });
  }
  if (versions.every((version) => now.removing.includes(version))) return now;
  const previous = Object.fromEntries(
    Object.entries(now.previous).filter(([, pointer]) => !isGoing(pointer)),
  );
  const removing = [...new Set([...now.removing, ...versions])];
  return { ...now, previous, removing };
}

/** The aliases of a fine-tuned model: its own, and those of its checkpoints. */
export function modelAliases({ aliases }: Aliases, alias: string): string[] {
  const isCheckpoint = (one: string) => one.startsWith(`${alias}.`) && CHECKPOINT_ALIAS.test(one);
  return Object.keys(aliases).filter((one) => one === alias || isCheckpoint(one));
}

/**
 * The aliases of a name without a fine-tuned model, whose versions are `going`. `latest` leads to `fallback` if it led
 * to one of them, and goes if there is no fallback. Throws `ServeError` (400) if an alias that somebody moved by hand
 * leads to one of them.
 */
export function withoutModel(
  now: Aliases,
  alias: string,
  { going, fallback }: { going: readonly number[]; fallback: number | undefined },
): Aliases {
  let next = now;
  for (const own of modelAliases(now, alias)) next = withoutPointer(next, own);
  const latest = pointerOf(next.aliases, LATEST);
  if (latest && 'version' in latest && going.includes(latest.version)) {
    next = withoutPointer(next, LATEST);
    if (fallback !== undefined) next = withPointer(next, LATEST, { version: fallback });
  }
  return withRemoving(next, going);
}

export function withRemoved(now: Aliases, versions: readonly number[]): Aliases {
  const removing = now.removing.filter((version) => !versions.includes(version));
  return removing.length === now.removing.length ? now : { ...now, removing };
}

/** The aliases of a removed name: none, and its revision goes on. */
export function withoutAll(now: Aliases, versions: readonly number[]): Aliases {
  const isEmpty = Object.keys({ ...now.aliases, ...now.previous }).length === 0;
  if (isEmpty && versions.every((version) => now.removing.includes(version))) return now;
  const removing = [...new Set([...now.removing, ...versions])];
  return { ...now, aliases: {}, previous: {}, removing };
}

/** Whether any alias leads to the version. */
export function reaches({ aliases }: Aliases, version: number): boolean {
  return Object.values(aliases).some((pointer) => versionsOf(pointer).includes(version));
}

export function isSamePointer(a: AliasPointer, b: AliasPointer): boolean {
  const text = (pointer: AliasPointer) =>
    'version' in pointer
      ? `${pointer.version}`
      : pointer.split.map(({ version, percent }) => `${version}:${percent}`).join();
  return text(a) === text(b);
}
