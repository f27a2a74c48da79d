// `lorikeet import`: imports a base and builds the files that a start reads, so that no start has to build them.
import path from 'node:path';
import { ConfigError } from '../common/errors.ts';
import type { ArtifactInfo } from '../import/artifact.ts';
import { type ImportRequest, importBase } from './base.ts';
import type { ProgramContext } from './context.ts';
import { buildBase } from './prepared-base.ts';

/** A model to import, and whether to build its serving files. */
export interface ServingImport extends ImportRequest {
  readonly isBuilt: boolean;
}

/**
 * Imports a base, and builds its serving files for the settings of `context`. The base stays if they cannot be built: the
 * message then says how to go on. Rejects with the error of the import, or of the build if a start would have it too.
 */
export async function importForServing(
  request: ServingImport,
  context: ProgramContext,
): Promise<ArtifactInfo> {
  const info = await importBase(request, context);
  if (!request.isBuilt) return info;
  const { config, reporter } = context;
  const dir = path.resolve(request.outDir);
  try {
    await buildBase({ ...context, config: { ...config, model: dir } });
  } catch (error) {
    const imported = `${info.name} is imported into ${dir}, but the files that a start reads are missing.`;
    if (error instanceof ConfigError) {
      // A base that does not fit this machine may be for another one, or for training.
      reporter.notify(`${imported} ${error.message}`);
    } else {
      reporter.notify(`${imported} lorikeet serve --model ${request.outDir} builds them.`);
      throw error;
    }
  }
  return info;
}
