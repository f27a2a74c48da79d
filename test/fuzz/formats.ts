// The formats under test: valid files, and the words that their parsers know. The bytes are made here, not kept.
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { encodeEntry } from '../../src/tinker/journal-entries.ts';
import { CONFIG, configBytes, json, sampleTensors } from '../adapters/sample.ts';
import { randomBlocks, writeGguf } from '../import/gguf-writer.ts';
import { keysFileOf, makeKey } from '../tenants/keys.ts';
import type { Format } from './edits.ts';

/** A whole file of JSON. */
export const JSON_FILE: NonNullable<Format['json']> = {
  read: (file) => Buffer.from(file).toString(),
  write: (_, text) => Buffer.from(text),
};

const headerEnd = (file: Uint8Array) => 8 + Number(Buffer.from(file).readBigUInt64LE());

/** Weights: the length of a header of JSON, the header, and data. */
export const WEIGHTS: Format = {
  seeds: [
    serializeSafetensors(sampleTensors(), { format: 'pt' }),
    serializeSafetensors(sampleTensors({ dtype: 'BF16' })),
    serializeSafetensors(sampleTensors({ dtype: 'F16' })),
  ],
  words: [
    ...[
      'dtype',
      'shape',
      'data_offsets',
      '__metadata__',
      'F32',
      'F16',
      'BF16',
      'F64',
      'I64',
      'BOOL',
    ],
    ...['base_model.model.', 'lora_A.weight', 'lora_B.weight', 'lora_magnitude_vector', '.bias'],
    ...['lora_embedding_A', 'embed_tokens', 'lm_head', 'modules_to_save', 'score.weight', '..'],
  ],
  json: {
    read: (file) => Buffer.from(file.subarray(8, headerEnd(file))).toString(),
    write(file, text) {
      const header = Buffer.from(text);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      return Buffer.concat([length, header, file.subarray(headerEnd(file))]);
    },
  },
  repair(file, grownBy) {
    if (file.length < 8) return;
    const view = new DataView(file.buffer, file.byteOffset);
    view.setBigUint64(0, BigInt.asUintN(64, view.getBigUint64(0, true) + BigInt(grownBy)), true);
  },
};

export const CONFIGS: Format = {
  seeds: [
    configBytes(),
    configBytes({
      use_rslora: true,
      use_dora: true,
      exclude_modules: ['k_proj'],
      layers_to_transform: [0, 2],
      layers_pattern: 'layers',
      rank_pattern: { 'layers.0.self_attn.q_proj': 4, '^model\\.layers\\.1\\.mlp\\.up_proj$': 1 },
      alpha_pattern: { q_proj: 1.5 },
      modules_to_save: ['norm'],
      trainable_token_indices: { embed_tokens: [1, 2] },
      auto_mapping: null,
    }),
    configBytes({
      task_type: 'SEQ_CLS',
      id2label: { 0: 'no', 1: 'yes' },
      target_modules: 'all-linear',
      alora_invocation_tokens: [1, 2, 3],
      bias: 'lora_only',
      lora_bias: true,
      init_lora_weights: 'gaussian',
      loftq_config: {},
    }),
    configBytes({ target_modules: '.*\\.(q|v)_proj', exclude_modules: '.*layers\\.1\\..*' }),
  ],
  words: [
    ...[...Object.keys(CONFIG), 'rank_pattern', 'alpha_pattern', 'exclude_modules', 'use_rslora'],
    ...['layers_to_transform', 'layers_pattern', 'init_lora_weights', 'auto_mapping', 'use_dora'],
    ...['lora_bias', 'ensure_weight_tying', 'megatron_config', 'all-linear', 'q_proj', 'lm_head'],
    ...['.*', '(a*)*', '(?P<x>', '(?=x)', '[', '\\\\', '{1000}', '\\\\d', '|', '$', '^'],
  ],
  json: JSON_FILE,
};

export const GGUF: Format = {
  seeds: [
    writeGguf({ 'general.architecture': 'llama', 'llama.block_count': 2, 'a.b': { float: 1.5 } }, [
      { name: 'token_embd.weight', shape: [2, 32], type: 8, data: randomBlocks(8, 64, 1) },
      { name: 'blk.0.attn_q.weight', shape: [1, 256], type: 12, data: randomBlocks(12, 256, 2) },
    ]),
    writeGguf({ 'general.alignment': 32, flag: true }, [
      { name: 'output_norm.weight', shape: [8], type: 0, data: randomBlocks(0, 8, 3) },
      { name: 'blk.0.attn_k.weight', shape: [2, 256], type: 14, data: randomBlocks(14, 512, 4) },
    ]),
  ],
  words: [
    'GGUF',
    'general.alignment',
    'token_embd.weight',
    'blk.0.',
    '.bias',
    'tokenizer.ggml.tokens',
  ],
};

const KEYS = [makeKey('acme', true), makeKey('acme'), makeKey('other')];
export const KEYS_FILES: Format = {
  seeds: [
    json(
      keysFileOf(KEYS, {
        acme: {
          weight: 2,
          allowedAdapters: ['zen', 'support-*'],
          limits: { requestsPerMinute: 5, tokensPerMinute: 100, concurrentRequests: 2 },
        },
      }),
    ),
    json(keysFileOf([])),
  ],
  words: ['version', 'tenants', 'keys', 'sha256', 'created', 'admin', 'shared', 'defaultModel'],
  json: JSON_FILE,
};

export const ADAPTER = { tenant: 'acme', name: 'zen' };
export const VERSION = { ...ADAPTER, version: 1 };
const DIGEST = 'a'.repeat(64);
const file = (byteSize: number) => ({ sha256: DIGEST, byteSize });
const ORIGIN = {
  program: 'lorikeet 0.1.0',
  data: file(10),
  validation: file(5),
  init_adapter: DIGEST,
};
export const MANIFESTS: Format = {
  seeds: [
    json({
      schema: 1,
      ...VERSION,
      digest: DIGEST,
      files: { 'adapter_config.json': file(100), 'adapter_model.safetensors': file(1000) },
      base_digest: DIGEST,
      created_at: 1_790_000_000,
      rank: 8,
      targets: ['q_proj'],
      job: 'ftjob-1',
      training: ORIGIN,
      metrics: { loss: 1.5, card: { gain: [1, 2] } },
      generation_config: { temperature: 0.5, top_p: 0.9 },
      request_defaults: { response_format: { type: 'json_object' }, tools: [] },
    }),
    json({ schema: 1, removed_at: 1_790_000_000 }),
  ],
  words: [
    'schema',
    'removed_at',
    'files',
    'training',
    'data',
    'sha256',
    'byteSize',
    'temperature',
    'request_defaults',
  ],
  json: JSON_FILE,
};
export const ALIASES: Format = {
  seeds: [
    json({
      schema: 1,
      ...ADAPTER,
      revision: 3,
      aliases: {
        latest: { version: 2 },
        canary: {
          split: [
            { version: 1, percent: 33.3 },
            { version: 2, percent: 66.7 },
          ],
        },
      },
      previous: { latest: { version: 1 } },
      removing: [7],
    }),
  ],
  words: ['aliases', 'previous', 'removing', 'split', 'percent', 'version', 'latest', 'revision'],
  json: JSON_FILE,
};

const CALL = { id: 'c1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } };
const TOOL = {
  type: 'function',
  function: {
    name: 'f',
    description: 'd',
    parameters: { type: 'object', properties: { a: { type: 'integer' } } },
  },
};
const CONVERSATION = {
  messages: [
    { role: 'system', content: 's' },
    { role: 'user', content: 'u', name: 'n' },
    { role: 'assistant', content: null, tool_calls: [CALL] },
    { role: 'tool', tool_call_id: 'c1', content: 'r' },
    { role: 'assistant', content: 'a', weight: 0 },
  ],
  tools: [TOOL],
  parallel_tool_calls: false,
};
export const ROWS: Format = {
  seeds: [
    json(CONVERSATION),
    json({ prompt: 'p', completion: 'c' }),
    json({ text: 't', label: 'x' }),
    json({ input_ids: [1, 2, 3], labels: [-100, 2, 3] }),
  ],
  words: [
    ...['messages', 'role', 'content', 'weight', 'tool_calls', 'tool_call_id', 'tools', 'prompt'],
    ...['completion', 'text', 'label', 'labels', 'input_ids', '-100', 'developer', 'function'],
    '\r\n\n{"text":"b"}',
  ],
  json: JSON_FILE,
};

export const GENERATION_CONFIGS: Format = {
  seeds: [
    json({ temperature: 0.6, top_p: 0.9, top_k: 50, min_p: 0, max_new_tokens: 512 }),
    json({ do_sample: true, repetition_penalty: 1.1, eos_token_id: [1, 2], temperature: null }),
  ],
  words: ['temperature', 'top_p', 'top_k', 'min_p', 'repetition_penalty', 'max_new_tokens', 'null'],
  json: JSON_FILE,
};

export const TRAINING_ORIGINS: Format = {
  seeds: [json(ORIGIN), json({ program: ORIGIN.program, data: ORIGIN.data })],
  words: ['program', 'data', 'validation', 'init_adapter', 'sha256', 'byteSize', 'null'],
  json: JSON_FILE,
};

const lineEnd = (file: Uint8Array) => Buffer.from(file).indexOf('\n') + 1;
const ERROR = { code: 'expired', message: 'm', param: null, retryAfterS: 1 };

/** A line of JSON, and bytes. Files of release 0.3.0 are left out: Node's own parser of them believes lengths. */
export const JOURNAL_ENTRIES: Format = {
  seeds: [
    encodeEntry({ id: 'tinker-1', tenant: 'acme', base: DIGEST, metadata: null }),
    encodeEntry({ model: 'zen@1', baseModel: 'toy', modelPath: 'tinker://a/weights/b', clones: 2 }),
    encodeEntry({
      kind: 'create',
      baseModel: 'toy',
      adapter: { rank: 4, seed: 1, trainsMlp: true, trainsAttention: true, trainsHead: false },
      metadata: { note: 'n' },
    }),
    encodeEntry({ kind: 'pass', bytes: Uint8Array.of(0x1a, 0, 0x22, 1, 0x61) }),
    encodeEntry({
      kind: 'step',
      adam: {
        learningRate: 1e-4,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        weightDecay: 0,
        maxGradNorm: 0,
      },
    }),
    encodeEntry({ kind: 'refused', error: ERROR }),
    encodeEntry({ error: ERROR }),
    encodeEntry({ value: { type: 'save_weights', path: 'tinker://a/weights/b' } }),
    encodeEntry({ value: Uint8Array.of(1, 2, 3) }),
  ],
  words: [
    ...['version', 'bytes', 'value', 'name', 'length', 'entry', 'kind', 'pass', 'step', 'save'],
    ...['refused', 'sampler', 'adam', 'betas', 'folder', 'ttlS', 'error', 'code', 'clones', '\n'],
  ],
  json: {
    read: (file) => Buffer.from(file.subarray(0, lineEnd(file))).toString(),
    write: (file, text) => Buffer.concat([Buffer.from(`${text}\n`), file.subarray(lineEnd(file))]),
  },
};
