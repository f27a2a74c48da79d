// The names of the tensors in PEFT's files, and which of them a linear has under a configuration.
import type { AdapterConfig } from './peft-config.ts';

/** The tensors of one linear, by the ending of their names. */
const LINEAR_TENSORS = {
  /** [rank, in] */
  a: 'lora_A.weight',
  /** [out, rank] */
  b: 'lora_B.weight',
  /** [out]: DoRA's norms of the rows of the adapted weight */
  magnitude: 'lora_magnitude_vector',
  /** [out]: added to B A x, and scaled with it */
  updateBias: 'lora_B.bias',
  /** [out]: replaces the bias of a linear that has an update */
  adaptedBias: 'base_layer.bias',
  /** [out]: replaces the bias of a linear without one */
  bias: 'bias',
} as const;

/** A tensor of a linear. */
export type LinearTensor = keyof typeof LINEAR_TENSORS;

const PREFIX = 'base_model.model.';
/** Longer endings first: `base_layer.bias` also ends in `bias`. */
const ENDINGS = (Object.entries(LINEAR_TENSORS) as [LinearTensor, string][]).sort(
  ([, one], [, other]) => other.length - one.length,
);

/** Returns the name of a tensor of a linear such as `model.layers.0.self_attn.q_proj`. */
export function linearTensorName(module: string, tensor: LinearTensor): string {
  return `${PREFIX}${module}.${LINEAR_TENSORS[tensor]}`;
}

/** Splits a name into a module and its tensor. Undefined if it has another form. The module may not exist. */
export function splitTensorName(
  name: string,
): { readonly module: string; readonly tensor: LinearTensor } | undefined {
  if (!name.startsWith(PREFIX)) return undefined;
  const found = ENDINGS.find(([, ending]) => name.endsWith(`.${ending}`));
  if (!found) return undefined;
  const [tensor, ending] = found;
  return { module: name.slice(PREFIX.length, -ending.length - 1), tensor };
}

/** Whether a linear must have a tensor in the file (`required`), may have it (`optional`), or must not (undefined). */
export function presenceOf(
  tensor: LinearTensor,
  module: string,
  config: AdapterConfig,
): 'required' | 'optional' | undefined {
  const { isDora, hasUpdateBias, biases } = config;
  const isTargeted = config.isTargeted(module);
  const when = (isThere: boolean) => (isThere ? 'required' : undefined);
  switch (tensor) {
    case 'a':
    case 'b':
      return when(isTargeted);
    case 'magnitude':
      return when(isTargeted && isDora);
    case 'updateBias':
      return when(isTargeted && hasUpdateBias);
    case 'adaptedBias': // peft does not find them for `lora_only`, so its files lack them
      if (biases === 'lora_only') return isTargeted ? 'optional' : undefined;
      return when(isTargeted && biases === 'all');
    case 'bias':
      return when(!isTargeted && biases === 'all');
  }
}
