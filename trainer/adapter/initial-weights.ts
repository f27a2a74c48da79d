// Draws the initial weights of a new adapter.
import { EMBEDDING, tensorName } from '../../adapters/peft/tensor-names.ts';
import { elementCount, fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loraNames } from '../../src/model/names.ts';
import { normal, seededRandom, streamSeed } from '../random.ts';
import type { LoraSettings } from '../types.ts';
import { adapterTensors } from './tensors.ts';

const EMBEDDING_B = tensorName(EMBEDDING, 'embeddingB');

/**
 * Draws the weights of a new adapter that do not start from the base, as peft does: A [rank, in] uniform in ±1/sqrt(in)
 * (kaiming with a = sqrt 5), the embedding's B from the standard normal distribution, all others zero. A tensor's values depend
 * only on the seed and its name. Keys are PEFT's names.
 */
export function drawAdapter(
  settings: Omit<LoraSettings, 'init'>,
  model: DecoderConfig,
  seed: number,
): Map<string, Tensor> {
  const drawn = new Set(Array.from(settings.modules.keys(), (module) => loraNames(module).a));
  const tensors = new Map<string, Tensor>();
  for (const { name, shape, neutral } of adapterTensors(model, settings)) {
    if (neutral.kind !== 'zeros') continue;
    const values = new Float32Array(elementCount(shape));
    if (drawn.has(name)) fillUniform(values, 1 / Math.sqrt(shape[1]!), streamSeed(seed, name));
    if (name === EMBEDDING_B) fillNormal(values, streamSeed(seed, name));
    tensors.set(name, fromFloat32(values, shape, 'F32'));
  }
  return tensors;
}

function fillUniform(values: Float32Array, bound: number, seed: number): void {
  const random = seededRandom(seed);
  for (let i = 0; i < values.length; i++) values[i] = (2 * random() - 1) * bound;
}

function fillNormal(values: Float32Array, seed: number): void {
  const random = seededRandom(seed);
  for (let i = 0; i < values.length; i++) values[i] = normal(random);
}
