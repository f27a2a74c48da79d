// A llama model with one layer and weights from a formula, as the files of a Hugging Face folder.

import { elementCount, fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';

export const TINY_CONFIG = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 16,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
};

export function tinyTensors(): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (const [name, shape] of expectedTensors(parseDecoderConfig(TINY_CONFIG))) {
    const values = Float32Array.from({ length: elementCount(shape) }, (_, i) =>
      Math.sin(i + name.length),
    );
    tensors.set(name, fromFloat32(values, shape, 'F32'));
  }
  return tensors;
}

export function tinyFiles(): Map<string, Uint8Array> {
  return new Map([
    ['config.json', new TextEncoder().encode(JSON.stringify(TINY_CONFIG))],
    ['model.safetensors', serializeSafetensors(tinyTensors())],
  ]);
}
