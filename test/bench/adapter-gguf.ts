// A LoRA adapter as llama.cpp reads it: a GGUF file of fp16 pairs.
import type { Tensor } from '../../src/common/tensor.ts';
import { writeGguf } from './gguf-file.ts';

/** transformers' module → llama.cpp's tensor. */
export const LLAMA_NAMES: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

interface AdapterFile {
  /** Of the base: `llama`, `qwen2`, … */
  readonly architecture: string;
  readonly alpha: number;
}

/** `tensors`: `model.layers.N.<module>.lora_A` [r, in] and `.lora_B` [out, r], fp16. */
export function writeAdapterGguf(
  file: string,
  tensors: ReadonlyMap<string, Tensor>,
  { architecture, alpha }: AdapterFile,
): void {
  const metadata = {
    'general.type': 'adapter',
    'general.architecture': architecture,
    'adapter.type': 'lora',
    'adapter.lora.alpha': { float: alpha },
  };
  const named = [...tensors].map(([name, tensor]) => ({
    name: llamaName(name),
    info: tensor,
    read: () => tensor,
  }));
  writeGguf(file, metadata, named);
}

function llamaName(name: string): string {
  const match = /^model\.layers\.(\d+)\.(.+)\.lora_([AB])$/.exec(name);
  const llama = LLAMA_NAMES[match?.[2] ?? ''];
  if (!match || !llama) throw new Error(`${name} has no name in llama.cpp`);
  return `blk.${match[1]}.${llama}.weight.lora_${match[3]!.toLowerCase()}`;
}
