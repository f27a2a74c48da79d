// `lorikeet import`: one import with its progress on standard error and its result on standard output.
import path from 'node:path';
import { importModel } from '../import/import-model.ts';
import type { Config } from '../settings/config.ts';
import { createProgress } from './progress.ts';

/** What the command line asks for. */
export interface ImportRequest {
  source: string;
  outDir: string;
  quantization: 'nf4' | 'none';
  doubleQuantization: boolean;
  isJson: boolean;
}

export interface ImportSettings extends Omit<ImportRequest, 'isJson'> {
  config: Config;
  signal: AbortSignal;
}

/** Imports with progress; resolves with what the artifact says of itself. */
export async function importWithProgress({ config, signal, ...request }: ImportSettings) {
  const progress = createProgress(process.stderr);
  try {
    return await importModel(request.source, request.outDir, {
      quantization: request.quantization,
      doubleQuantization: request.doubleQuantization,
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
