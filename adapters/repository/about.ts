// Changes the text about a name. It is part of the aliases' document, so it changes by the same compare-and-swap, and lists
// read it with the aliases.
import { ServeError } from '../../src/common/errors.ts';
import { type AdapterAbout, NO_ABOUT } from '../../src/contracts/adapter-about.ts';
import type { StoreCall } from '../store/store.ts';
import type { RepositoryParts } from './aliases.ts';
import { type AdapterName, type Aliases, checkName } from './manifest.ts';

/** New text, and the revision that its writer has read. Parts that are left out stay; without a revision, any is replaced. */
export type AboutChange = {
  readonly [Part in keyof AdapterAbout]?: AdapterAbout[Part] | undefined;
};

/**
 * Changes the text about a name. Throws `ServeError`: 404 if the name has no version, 412 if somebody else has changed the text
 * since the given revision.
 */
export async function changeAbout(
  parts: RepositoryParts,
  name: AdapterName,
  { revision, ...changes }: AboutChange,
  call: StoreCall = {},
): Promise<Aliases> {
  const of = checkName(name);
  if ((await parts.versions.manifests(of, call)).length === 0) {
    throw new ServeError('not_found', `The adapter ${of.name} does not exist.`, { param: 'name' });
  }
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  return parts.aliases.change(
    of,
    (now) => {
      const { about = NO_ABOUT } = now;
      const next: AdapterAbout = { ...about, ...Object.fromEntries(given) };
      if (isSame(about, next)) return now; // also if a repeated change finds its own effect
      if (revision !== undefined && revision !== about.revision) throw changedMeanwhile();
      return { ...now, about: { ...next, revision: about.revision + 1 } };
    },
    call,
  );
}

function isSame(a: AdapterAbout, b: AdapterAbout): boolean {
  const text = ({ kind, description, tags, examples }: AdapterAbout) =>
    JSON.stringify([kind, description, tags, examples]);
  return text(a) === text(b);
}

function changedMeanwhile(): ServeError {
  const message =
    'Someone else has changed this text since you read it. Read it again, and repeat your change.';
  return new ServeError('precondition_failed', message, { param: 'revision' });
}
