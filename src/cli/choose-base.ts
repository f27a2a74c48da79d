// The base that a command works with: found, or imported from the catalogue the first time it is asked for.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CATALOGUE_NAMES } from '../import/catalogue.ts';
import type { Config } from '../settings/config.ts';
import { findBaseModel } from './base-model.ts';

export interface ChooseBaseOptions {
  readonly config: Config;
  readonly signal: AbortSignal;
  notify(text: string): void;
}

/** The artifact's folder. @param requested folder or name; absent: the default models, then the toy */
export function chooseBase(
  requested: string | undefined,
  { config, signal, notify }: ChooseBaseOptions,
): Promise<string> {
  return findBaseModel(requested, {
    modelsDir: path.join(config.home, 'models'),
    toyDir: path.dirname(fileURLToPath(import.meta.resolve('#models/toy/lorikeet.json'))),
    catalogue: CATALOGUE_NAMES,
    notify,
    async importModel(source, outDir) {
      const { importWithProgress } = await import('./import-command.ts');
      notify(`Fetching ${source}; this happens once.`);
      const quantization = { quantization: 'nf4', doubleQuantization: true } as const;
      await importWithProgress({ source, outDir, ...quantization, config, signal });
    },
  });
}
