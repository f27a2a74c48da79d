// The serving folder, opened: the model's shape and its weights as mapped tensors.
import path from 'node:path';
import { FileError } from '../common/errors.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import {
  LAYOUT_FILE,
  LAYOUT_VERSION,
  type ServingLayout,
  tensorBytes,
  WEIGHTS_FILE,
  type WeightsMode,
} from '../model/serving-weights.ts';
import type { FilePlace } from '../onnx/graph-builder.ts';
import { type MappedFile, mapFile } from '../ort/mapped-file.ts';
import type { OrtTensor } from '../ort/tensor.ts';

export interface ServingModel {
  readonly config: DecoderConfig;
  readonly weights: WeightsMode;
  readonly folder: string;
  /** By the names that the serving graph declares. */
  readonly tensors: ReadonlyMap<string, OrtTensor>;
  /** The same for a session that maps the folder's files itself. */
  readonly places: ReadonlyMap<string, FilePlace>;
  readonly file: MappedFile;
}

/** Maps a folder that `ensureServingFiles` made; throws `FileError` if it is of another version or incomplete. */
export function openServingFolder(dir: string): ServingModel {
  const layout = readLayout(dir);
  const file = mapFile(path.join(dir, WEIGHTS_FILE));
  const tensors = new Map<string, OrtTensor>();
  const places = new Map<string, FilePlace>();
  for (const { name, type, dims, offset } of layout.tensors) {
    if (offset + tensorBytes({ name, type, dims }) > file.byteLength) {
      throw new FileError(WEIGHTS_FILE, `ends at ${file.byteLength} bytes, within ${name}`);
    }
    tensors.set(name, file.tensor(type, dims, offset));
    places.set(name, { file: WEIGHTS_FILE, offset });
  }
  const config = parseDecoderConfig(layout.config);
  return { config, weights: layout.weights, folder: dir, tensors, places, file };
}

function readLayout(dir: string): ServingLayout {
  let layout: ServingLayout;
  try {
    layout = JSON.parse(readRegular(path.join(dir, LAYOUT_FILE), SMALL_FILE_BYTES).toString());
  } catch (cause) {
    throw new FileError(LAYOUT_FILE, 'cannot be read as JSON', { cause });
  }
  if (layout.version === LAYOUT_VERSION) return layout;
  throw new FileError(LAYOUT_FILE, `version ${layout.version} is not ${LAYOUT_VERSION}`);
}
