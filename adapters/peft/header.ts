// Measures an adapter's weights by the header of their safetensors file, before anything is loaded. Whether the tensors fit
// a model is checked in `parse-adapter.ts`. It opens no files.
import { elementCount } from '../../src/common/tensor.ts';
import {
  ADAPTER_LIMITS,
  LENGTH_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
} from '../../src/formats/safetensors-header.ts';
import { TARGET_MODULES, TARGET_NAMES } from '../../src/model/target-modules.ts';
import { toInvalidAdapter } from './refusal.ts';
import type { AdapterWeights } from './weights.ts';

/** The largest rank, the adapted linears, and the bytes of all factors in float32. */
export interface WeightsSize extends Pick<AdapterWeights, 'rank' | 'targets' | 'byteSize'> {
  /** Ranks by module name, such as `model.layers.0.self_attn.q_proj`. */
  readonly ranks: ReadonlyMap<string, number>;
}

/** The tensor name of a module's factor A, [r, in]. */
const FACTOR_A = /^base_model\.model\.(model\.layers\.\d+\.([\w.]+))\.lora_A\.weight$/;

/**
 * Measures a file of `fileBytes` bytes. `read` may return fewer bytes than it is asked for. Throws `ServeError` (422) with the
 * tensor or `header` as `param`.
 */
export async function readHeader(
  fileBytes: number,
  read: (position: number, length: number) => Promise<Uint8Array>,
): Promise<WeightsSize> {
  try {
    const start = await read(0, Math.min(LENGTH_BYTES, fileBytes));
    const headerBytes = parseHeaderLength(start, fileBytes, ADAPTER_LIMITS);
    const header = await read(LENGTH_BYTES, headerBytes);
    return sizeOf(parseHeader(header, fileBytes, ADAPTER_LIMITS).tensors);
  } catch (error) {
    throw toInvalidAdapter(error);
  }
}

function sizeOf(tensors: SafetensorsHeader['tensors']): WeightsSize {
  const ranks = new Map<string, number>();
  const paths = new Set<string>();
  let elements = 0;
  for (const [key, { shape }] of tensors) {
    elements += elementCount(shape);
    const [, module, path] = FACTOR_A.exec(key) ?? [];
    if (!module || !path) continue;
    ranks.set(module, shape[0]!);
    paths.add(path);
  }
  return {
    ranks,
    rank: [...ranks.values()].reduce((most, rank) => Math.max(most, rank), 1),
    targets: TARGET_NAMES.filter((name) => paths.has(TARGET_MODULES[name].path)),
    byteSize: elements * Float32Array.BYTES_PER_ELEMENT,
  };
}
