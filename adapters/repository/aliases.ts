// Leading an alias somewhere by hand: only to versions that exist, and back again. It decides; the swap is the pointers'.
import { ServeError } from '../../src/common/errors.ts';
import type { DocumentStore } from '../store/documents.ts';
import type { StoreCall } from '../store/store.ts';
import { isSamePointer, withoutPointer, withPointer } from './alias-changes.ts';
import {
  type Aliases,
  type AliasPointer,
  pointerOf,
  pointerSchema,
  versionsOf,
} from './manifest.ts';
import type { AliasName } from './options.ts';
import type { AliasPointers } from './pointers.ts';
import { noVersion } from './removal.ts';
import { readManifest } from './versions.ts';

interface AliasParts {
  readonly documents: DocumentStore;
  readonly pointers: AliasPointers;
}

/** `undefined` removes the alias. */
export async function moveAlias(
  parts: AliasParts,
  of: AliasName,
  pointer: AliasPointer | undefined,
  call: StoreCall,
): Promise<Aliases> {
  if (!pointer) return parts.pointers.change(of, (now) => withoutPointer(now, of.alias), call);
  const checked = pointerSchema.safeParse(pointer);
  if (!checked.success) {
    const message = `The alias cannot lead there: ${checked.error.issues[0]!.message}.`;
    throw new ServeError('invalid_request', message, { param: 'split' });
  }
  return parts.pointers.change(of, (now) => lead(parts, of, now, checked.data, call), call);
}

/** Where it led before the last change when this was called: called again on its own effect, it changes nothing. */
export async function rollbackAlias(
  parts: AliasParts,
  of: AliasName,
  call: StoreCall,
): Promise<Aliases> {
  let target: AliasPointer | undefined;
  return parts.pointers.change(
    of,
    async (now) => {
      target ??= pointerOf(now.previous, of.alias);
      if (!target) {
        const message = `${of.alias} of ${of.name} has led nowhere else before.`;
        throw new ServeError('invalid_request', message, { param: 'alias' });
      }
      return lead(parts, of, now, target, call);
    },
    call,
  );
}

async function lead(
  { documents }: AliasParts,
  of: AliasName,
  now: Aliases,
  pointer: AliasPointer,
  call: StoreCall,
): Promise<Aliases> {
  const current = pointerOf(now.aliases, of.alias);
  if (current && isSamePointer(current, pointer)) return now;
  for (const version of versionsOf(pointer)) {
    const isGoing = now.removing.includes(version);
    const manifest = isGoing ? undefined : await readManifest(documents, { ...of, version }, call);
    if (!manifest) throw noVersion({ ...of, version });
  }
  return withPointer(now, of.alias, pointer);
}
