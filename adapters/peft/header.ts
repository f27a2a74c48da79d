// Measures an adapter's weights by the header of their safetensors file, before anything is loaded. The caller reads the file;
// `parse-adapter.ts` checks whether the tensors fit a model.
import { elementCount } from '../../src/common/tensor.ts';
import {
  ADAPTER_LIMITS,
  LENGTH_BYTES,
  parseHeader,
  parseHeaderLength,
} from '../../src/formats/safetensors-header.ts';
import { type ChangedPart, unionOfParts } from '../../src/model/adapter-vectors.ts';
import { TARGET_NAMES, type TargetName } from '../../src/model/target-modules.ts';
import { tokensOf } from './own-vocabulary.ts';
import type { Shaped } from './pairs.ts';
import { pairShapes } from './pairs.ts';
import { toInvalidAdapter } from './refusal.ts';
import {
  EMBEDDING,
  HEAD,
  isClassifier,
  type ModuleTensor,
  splitTensorName,
  targetOfModule,
} from './tensor-names.ts';
import type { AdapterShape } from './weights.ts';

/** The shape of an adapter, and the most bytes that its values take. */
export interface WeightsSize extends AdapterShape {
  readonly byteSize: number;
  /** The number of tokens in the file's tables. Undefined: it has none. */
  readonly vocabSize: number | undefined;
  /** Ranks by module name, such as `model.layers.0.self_attn.q_proj`. */
  readonly ranks: ReadonlyMap<string, number>;
}

/**
 * Measures a file of `fileBytes` bytes. `read` may return fewer bytes than requested. Throws `ServeError` (422) with the tensor
 * or `header` as `param`.
 */
export async function readHeader(
  fileBytes: number,
  read: (position: number, length: number) => Promise<Uint8Array>,
): Promise<WeightsSize> {
  try {
    const start = await read(0, Math.min(LENGTH_BYTES, fileBytes));
    const headerBytes = parseHeaderLength(start, fileBytes, ADAPTER_LIMITS);
    const header = await read(LENGTH_BYTES, headerBytes);
    const { tensors } = parseHeader(header, fileBytes, ADAPTER_LIMITS);
    return sizeOf(pairShapes(tensors));
  } catch (error) {
    throw toInvalidAdapter(error);
  }
}

/** The part to which a tensor belongs. Undefined: an update of a linear. */
function partOfTensor(module: string, tensor: ModuleTensor): ChangedPart | undefined {
  // A copy of either table counts for both: a resized vocabulary has rows in both.
  if (tensor === 'copy' || tensor === 'tokensCopy') return 'embedding';
  if (module === EMBEDDING) return 'embedding';
  if (module === HEAD) return 'head';
  if (isClassifier(module)) return undefined;
  if (tensor === 'whole') return 'norms';
  return tensor === 'a' || tensor === 'b' ? undefined : 'outputs';
}

function sizeOf(tensors: ReadonlyMap<string, Shaped>): WeightsSize {
  const ranks = new Map<string, number>();
  const targets = new Set<TargetName>();
  const parts = new Set<ChangedPart>();
  let elements = 0;
  let vocabSize: number | undefined;
  for (const [key, { shape }] of tensors) {
    const count = elementCount(shape);
    elements += count;
    const { module, tensor } = splitTensorName(key) ?? {};
    if (!module || !tensor) continue;
    vocabSize ??= tokensOf(module, tensor, shape);
    const part = partOfTensor(module, tensor);
    if (part) parts.add(part);
    // Changes of the embedding may also apply to the output head. A magnitude becomes a factor and a correction of the base's
    // bias.
    if (part === 'embedding') parts.add('head');
    if (tensor === 'magnitude') elements += count;
    // If only one table of a tied base is updated, the new tokens get separate rows in the other.
    if (tensor === 'copy') elements += count;
    const target = targetOfModule(module);
    if (tensor !== 'a' || !target) continue;
    ranks.set(module, shape[0]!);
    targets.add(target);
  }
  return {
    ranks,
    vocabSize,
    rank: [...ranks.values()].reduce((most, rank) => Math.max(most, rank), 1),
    targets: TARGET_NAMES.filter((name) => targets.has(name)),
    parts: unionOfParts([...parts]),
    byteSize: elements * Float32Array.BYTES_PER_ELEMENT,
  };
}
