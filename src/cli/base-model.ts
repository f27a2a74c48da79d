// Which base a start serves: the folder or name that was asked for, else the best that can be had here.
// Policy only: importing is an argument, and what an artifact holds is not looked at.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { ConfigError } from '../common/errors.ts';

/** Tried in order where no model is named: the hub's, then the same model as a Python wheel. */
export const DEFAULT_MODELS = ['smollm2-135m-instruct', 'smollm2-135m-instruct-q4'] as const;

/** An artifact's own file: written last, so that a folder with it is whole. */
const ARTIFACT_FILE = 'lorikeet.json';

export interface BaseModelSources {
  /** Imported models by name. */
  modelsDir: string;
  /** The committed base that needs no network. */
  toyDir: string;
  /** Names that can be imported without naming a source. */
  catalogue: readonly string[];
  /** Fetches and quantizes a catalogue model into the folder. */
  importModel(name: string, outDir: string): Promise<void>;
  notify(text: string): void;
}

/**
 * The folder of the base to serve; imports it where it is not there yet.
 * @param requested a folder or a name; absent: the default models, then the toy
 * @throws ConfigError where the request names nothing; what the import says where that fails
 */
export async function findBaseModel(
  requested: string | undefined,
  sources: BaseModelSources,
): Promise<string> {
  return requested === undefined ? findDefault(sources) : findRequested(requested, sources);
}

async function findRequested(requested: string, sources: BaseModelSources): Promise<string> {
  const folder = path.resolve(requested);
  if (isArtifact(folder)) return folder;
  if (requested === path.basename(requested)) {
    const named = path.join(sources.modelsDir, requested);
    if (isArtifact(named)) return named;
    if (sources.catalogue.includes(requested)) {
      await sources.importModel(requested, named);
      return named;
    }
  }
  const fault = existsSync(folder)
    ? `${folder} is no imported model; make one by: lorikeet import ${requested} --out DIR`
    : `no folder, no model in ${sources.modelsDir} and no catalogue name (${sources.catalogue.join(', ')})`;
  throw new ConfigError([`--model: ${fault}`]);
}

async function findDefault(sources: BaseModelSources): Promise<string> {
  const folders = DEFAULT_MODELS.map((name) => path.join(sources.modelsDir, name));
  const imported = folders.find(isArtifact);
  if (imported) return imported;
  for (const [i, name] of DEFAULT_MODELS.entries()) {
    try {
      await sources.importModel(name, folders[i]!);
      return folders[i]!;
    } catch (error) {
      if (isAbort(error)) throw error;
      sources.notify(`${name} cannot be had here: ${messageOf(error)}`);
    }
  }
  sources.notify(
    'Serving the toy base instead: it speaks some English and knows nothing. For a real one: lorikeet import SOURCE --out DIR, lorikeet serve --model DIR',
  );
  return sources.toyDir;
}

function isArtifact(folder: string): boolean {
  return existsSync(path.join(folder, ARTIFACT_FILE));
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
