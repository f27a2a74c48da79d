// The base that a comparison runs on.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { readArtifact } from '../../src/import/artifact.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loadConfig } from '../../src/settings/config.ts';

/** Returns the folder of an imported base, given by its name or its folder. */
export function findModel(model: string): string {
  const named = path.join(loadConfig().home, 'models', model);
  const dir = existsSync(named) ? named : path.resolve(model);
  if (!existsSync(dir)) {
    throw new Error(`${model} is not imported: lorikeet import ${model} --out ${named}`);
  }
  return dir;
}

/** Reads the shape of an imported base. */
export function readDecoder(dir: string): DecoderConfig {
  const artifact = readArtifact(dir);
  artifact.tensors.close();
  return artifact.config;
}
