// The serving folder, opened: the model's shape and its weights as mapped tensors.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { FileError } from '../errors.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import {
  LAYOUT_FILE,
  LAYOUT_VERSION,
  type ServingLayout,
  WEIGHTS_FILE,
  type WeightsMode,
} from '../model/serving-weights.ts';
import { mapFile } from '../ort/mapped-file.ts';
import type { OrtTensor } from '../ort/tensor.ts';

export interface ServingModel {
  readonly config: DecoderConfig;
  readonly weights: WeightsMode;
  /** By the names that the serving graph declares. */
  readonly tensors: ReadonlyMap<string, OrtTensor>;
}

/** Maps a folder that `ensureServingFiles` made; throws `FileError` where it is of another version. */
export function openServingFolder(dir: string): ServingModel {
  const layout = JSON.parse(readFileSync(path.join(dir, LAYOUT_FILE), 'utf8')) as ServingLayout;
  if (layout.version !== LAYOUT_VERSION) {
    throw new FileError(LAYOUT_FILE, `version ${layout.version} is not ${LAYOUT_VERSION}`);
  }
  const file = mapFile(path.join(dir, WEIGHTS_FILE));
  const tensors = new Map<string, OrtTensor>();
  for (const { name, type, dims, offset } of layout.tensors) {
    tensors.set(name, file.tensor(type, dims, offset));
  }
  return { config: parseDecoderConfig(layout.config), weights: layout.weights, tensors };
}
