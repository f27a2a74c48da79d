// A LoRA adapter as llama.cpp reads it: a GGUF file of fp16 pairs. Only what the benchmark needs.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
import { writeFileSync } from 'node:fs';
import type { Tensor } from '../../src/common/tensor.ts';

const ALIGNMENT = 32;
const TYPE_F16 = 1;
const VALUE_FLOAT32 = 6;
const VALUE_STRING = 8;

/** transformers' module → llama.cpp's tensor. */
const LLAMA_NAMES: Record<string, string> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** `tensors`: `model.layers.N.<module>.lora_A` [r, in] and `.lora_B` [out, r], fp16. */
export function writeAdapterGguf(
  file: string,
  tensors: ReadonlyMap<string, Tensor>,
  alpha: number,
): void {
  const head: Buffer[] = [Buffer.from('GGUF'), u32(3), u64(tensors.size), u64(4)];
  const text = (key: string, value: string) =>
    head.push(string(key), u32(VALUE_STRING), string(value));
  text('general.type', 'adapter');
  text('general.architecture', 'llama');
  text('adapter.type', 'lora');
  head.push(string('adapter.lora.alpha'), u32(VALUE_FLOAT32), f32(alpha));
  const data: Buffer[] = [];
  let offset = 0;
  for (const [name, tensor] of tensors) {
    const [rows, cols] = tensor.shape as [number, number];
    // Dimensions are written innermost first.
    head.push(string(llamaName(name)), u32(2), u64(cols), u64(rows), u32(TYPE_F16), u64(offset));
    const bytes = padded(Buffer.from(tensor.data));
    data.push(bytes);
    offset += bytes.length;
  }
  writeFileSync(file, Buffer.concat([padded(Buffer.concat(head)), ...data]));
}

function llamaName(name: string): string {
  const match = /^model\.layers\.(\d+)\.(.+)\.lora_([AB])$/.exec(name);
  const llama = LLAMA_NAMES[match?.[2] ?? ''];
  if (!match || !llama) throw new Error(`${name} has no name in llama.cpp`);
  return `blk.${match[1]}.${llama}.weight.lora_${match[3]!.toLowerCase()}`;
}

function padded(bytes: Buffer): Buffer {
  const missing = (ALIGNMENT - (bytes.length % ALIGNMENT)) % ALIGNMENT;
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
