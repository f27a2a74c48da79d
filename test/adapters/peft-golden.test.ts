import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { parseSafetensors } from '../../src/formats/safetensors.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { moduleName, TARGETS_OF } from '../../src/model/target-modules.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { adapterBytes } from './sample.ts';

const golden = sharedPath('golden', 'adapters');
const trained = sharedPath('adapters');
const models = sharedPath('golden', 'models');

/** What refuses each adapter that this build does not serve. */
const REFUSED: Record<string, string | RegExp> = {
  dora: 'use_dora',
  'save-lm-head': 'modules_to_save',
  'qwen2-bias': 'bias',
  embed: /embed_tokens/,
  'phi3-fused': /(qkv_proj|gate_up_proj)/,
};

function read(folder: string) {
  return adapterBytes(
    readFileSync(path.join(folder, 'adapter_config.json')),
    readFileSync(path.join(folder, 'adapter_model.safetensors')),
  );
}

function modelOf(base: string) {
  // phi3 is no family of ours; its adapter is refused on any.
  const known = base === 'phi3' ? 'llama-tied' : base;
  const file = path.join(models!, known, 'config.json');
  return parseDecoderConfig(JSON.parse(readFileSync(file, 'utf8')));
}

interface SettingFields {
  r: number;
  lora_alpha: number;
  use_rslora: boolean;
  rank_pattern: Record<string, number>;
  alpha_pattern: Record<string, number>;
}

/** Rank and scaling by peft's own expressions. */
function plainSetting(config: SettingFields, module: string) {
  const pick = (patterns: Record<string, number>, otherwise: number) => {
    const key = Object.keys(patterns).find((k) => new RegExp(`^(.*\\.)?(${k})$`).test(module));
    return key === undefined ? otherwise : patterns[key]!;
  };
  const rank = pick(config.rank_pattern, config.r);
  const alpha = pick(config.alpha_pattern, config.lora_alpha);
  return { rank, scaling: config.use_rslora ? alpha / Math.sqrt(rank) : alpha / rank };
}

/** The plain twin: [rows, columns] -> [columns, rows] times scale, an element at a time. */
function plainTranspose(tensor: Tensor, scale: number): number[] {
  const [rows, columns] = tensor.shape as [number, number];
  const values = toFloat32(tensor);
  const out: number[] = [];
  for (let c = 0; c < columns; c++) {
    for (let r = 0; r < rows; r++) out.push(Math.fround(values[r * columns + c]! * scale));
  }
  return out;
}

async function assertParsesLikeTwin(folder: string, model: ReturnType<typeof modelOf>) {
  const bytes = read(folder);
  const config = JSON.parse(Buffer.from(bytes.configBytes).toString());
  const { tensors } = parseSafetensors(bytes.weightsBytes);
  const weights = await parseAdapter(bytes, model);
  let used = 0;
  let byteSize = 0;
  weights.layers.forEach((layer, index) => {
    for (const target of TARGETS_OF.separate) {
      const pair = layer[target];
      const module = moduleName(index, target);
      const a = tensors.get(`base_model.model.${module}.lora_A.weight`);
      const b = tensors.get(`base_model.model.${module}.lora_B.weight`);
      assert.equal(pair !== undefined, a !== undefined, module);
      if (!pair) continue;
      const { rank, scaling } = plainSetting(config, module);
      assert.equal(pair.rank, rank, module);
      assert.deepEqual(Array.from(pair.a), plainTranspose(a!, 1), module);
      assert.deepEqual(Array.from(pair.b), plainTranspose(b!, scaling), module);
      used += 2;
      byteSize += 4 * (pair.a.length + pair.b.length);
    }
  });
  assert.equal(used, tensors.size);
  assert.equal(weights.byteSize, byteSize);
  assert.equal(weights.digest, bytes.digest);
  assert.equal(weights.rank, Math.max(...weights.layers.flatMap(Object.values).map((p) => p.rank)));
}

test('golden adapters have the values of a plain twin', { skip: skipUnless(golden) }, async () => {
  for (const name of readdirSync(golden!)) {
    const folder = path.join(golden!, name);
    if (name in REFUSED || name.includes('.')) continue;
    const config = JSON.parse(readFileSync(path.join(folder, 'adapter_config.json'), 'utf8'));
    await assertParsesLikeTwin(folder, modelOf(config.base_model_name_or_path));
  }
});

test('a trained adapter for SmolLM2 has the values of a plain twin', {
  skip: skipUnless(trained),
}, async () => {
  const smol = { hiddenSize: 576, intermediateSize: 1536, layerCount: 30, headCount: 9 };
  const model = { ...modelOf('llama-tied'), ...smol, kvHeadCount: 3, headDim: 64 };
  await assertParsesLikeTwin(path.join(trained!, 'zen'), model);
});

test('golden adapters of other variants are refused by name', {
  skip: skipUnless(golden),
}, async () => {
  for (const [name, param] of Object.entries(REFUSED)) {
    const bytes = read(path.join(golden!, name));
    const base = JSON.parse(Buffer.from(bytes.configBytes).toString()).base_model_name_or_path;
    await assert.rejects(parseAdapter(bytes, modelOf(base)), { code: 'adapter_invalid', param });
  }
});

test('the parse gives the event loop a turn at each layer', {
  skip: skipUnless(golden),
}, async () => {
  let turns = 0;
  let isDone = false;
  const count = () => {
    turns++;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  try {
    await parseAdapter(read(path.join(golden!, 'all-linear')), modelOf('llama-tied'));
  } finally {
    isDone = true;
  }
  assert.ok(turns >= 2, `${turns} turns for 2 layers`);
});
