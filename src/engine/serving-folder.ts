// Opens a serving folder: the shape of the model, and its weights as memory-mapped tensors.
import path from 'node:path';
import { FileError } from '../common/errors.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import { KV_SCALES_FILE, kvScaleCount } from '../model/kv-scales.ts';
import type { RowForm } from '../model/row-weights.ts';
import {
  LAYOUT_FILE,
  LAYOUT_VERSION,
  type ServingLayout,
  servingTensorBytes,
  WEIGHTS_FILE,
  type WeightsMode,
} from '../model/serving-weights.ts';
import type { FileLocation } from '../onnx/graph-builder.ts';
import { type MappedFile, mapFile } from '../ort/mapped-file.ts';
import type { OrtTensor } from '../ort/tensor.ts';

/** A model that is ready to be served. */
export interface ServingModel {
  readonly config: DecoderConfig;
  readonly weights: WeightsMode;
  /** The per-token form of the linears and the head. Undefined if they have the form of `weights`. */
  readonly rowForm: RowForm | undefined;
  /** Bases with equal identities compute the same. */
  readonly identity: string;
  readonly folder: string;
  /** The weights, by their names in the serving graph. */
  readonly tensors: ReadonlyMap<string, OrtTensor>;
  /** The positions of the weights in their file, for a session that maps the file itself. */
  readonly locations: ReadonlyMap<string, FileLocation>;
  readonly file: MappedFile;
}

/** Maps a folder that `buildServingFiles` created. Throws `FileError` if its version differs or it is incomplete. */
export function openServingFolder(dir: string): ServingModel {
  const layout = readLayout(dir);
  const file = mapFile(path.join(dir, WEIGHTS_FILE));
  const tensors = new Map<string, OrtTensor>();
  const locations = new Map<string, FileLocation>();
  for (const { name, type, dims, offset } of layout.tensors) {
    if (offset + servingTensorBytes({ name, type, dims }) > file.byteLength) {
      throw new FileError(WEIGHTS_FILE, `ends at ${file.byteLength} bytes, within ${name}`);
    }
    tensors.set(name, file.tensor(type, dims, offset));
    locations.set(name, { file: WEIGHTS_FILE, offset });
  }
  const config = parseDecoderConfig(layout.config);
  const { weights, rowForm, baseDigest } = layout;
  // Covers everything that decides what a served base computes, apart from adapters.
  const identity = `${baseDigest} ${weights} ${JSON.stringify(rowForm)}`;
  const shared = { config, weights, rowForm: rowForm ?? undefined, identity, folder: dir };
  return { ...shared, tensors, locations, file };
}

/** Reads the scales of an int8 KV cache. Throws `FileError` if the folder has none that fit the model. */
export function readKvScales(dir: string, config: DecoderConfig): Float32Array<ArrayBuffer> {
  const bytes = readScales(dir);
  const isWhole = bytes.length === 4 * kvScaleCount(config);
  const scales = new Float32Array(isWhole ? new Uint8Array(bytes).buffer : []);
  if (isWhole && scales.every((scale) => scale > 0 && Number.isFinite(scale))) return scales;
  const reason = isWhole ? 'a scale is not positive' : `${bytes.length} bytes do not fit the model`;
  throw new FileError(KV_SCALES_FILE, `${reason}. Delete it, and the next start measures it again`);
}

function readScales(dir: string): Buffer {
  try {
    return readRegular(path.join(dir, KV_SCALES_FILE), SMALL_FILE_BYTES);
  } catch (cause) {
    throw new FileError(KV_SCALES_FILE, 'cannot be read', { cause });
  }
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
