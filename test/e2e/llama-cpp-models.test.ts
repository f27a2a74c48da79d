// Bases that llama.cpp's own converter has written are imported as the checkpoints that it read.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { toFloat32 } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { temporaryFolder } from '../fixtures.ts';
import { openBase } from '../imported-base.ts';
import { sharedPath, skipUnless, testUnless } from '../shared.ts';
import { findConverter } from './llama-cpp.ts';
import { pythonJson, skipWithout } from './python.ts';

/** The values are rounded to bfloat16. */
const LIMIT = 2 ** -8;
const models = sharedPath('golden', 'models');
const breadth = sharedPath('golden', 'breadth/models');
const converter = findConverter();
const skip =
  skipUnless(models && breadth) ||
  ('reason' in converter
    ? converter.reason
    : skipWithout('torch', 'transformers', 'sentencepiece'));
const test = testUnless(skip);

test('every family: a file of llama.cpp has the configuration and the tensors of its checkpoint', async (t) => {
  assert.ok('script' in converter);
  const folders = [models!, breadth!].flatMap((folder) =>
    readdirSync(folder).map((name) => path.join(folder, name)),
  );
  const out = temporaryFolder(t);
  const script = path.resolve('test/e2e/convert_checkpoints.py');
  const written = pythonJson<string[]>([script, path.dirname(converter.script), out, ...folders]);
  assert.equal(written.length, folders.length);
  for (const folder of folders) {
    const name = path.basename(folder);
    const original = await openBase(t, folder);
    const converted = await openBase(t, path.join(out, `${name}.gguf`));
    const { family } = original.config;
    assert.equal(sayable(converted.config, family), sayable(original.config, family), name);
    for (const tensor of expectedTensors(original.config).keys()) {
      const expected = toFloat32(original.tensors.read(tensor));
      const values = toFloat32(converted.tensors.read(tensor));
      assert.equal(values.length, expected.length, `${name}: ${tensor}`);
      const worst = values.reduce((most, value, i) => {
        const off = Math.abs(value - expected[i]!) / Math.max(1e-3, Math.abs(expected[i]!));
        return Math.max(most, off);
      }, 0);
      assert.ok(worst <= LIMIT, `${name}: ${tensor} is off by ${worst}`);
    }
  }
});

/**
 * A configuration as text, without what files do not contain: the ids of a tokenizer, which was not converted, Gemma's scale of
 * attention, which layers differ, and that a model is Mistral's. Frequencies are divided by factors in float32, and one list of them counts
 * for all lengths.
 */
function sayable(config: DecoderConfig, family: string): string {
  const hidden = ['eosTokenIds', ...(HIDDEN[family] ?? [])];
  return JSON.stringify(
    config,
    (key, value) => {
      if (hidden.includes(key)) return undefined;
      if (value instanceof Float32Array) return Array.from(value);
      if (typeof value === 'number') return Number(value.toPrecision(6));
      const { long, ...rest } = value ?? {};
      return long && String(long.frequencies) === String(rest.frequencies) ? rest : value;
    },
    1,
  );
}

const HIDDEN: Readonly<Record<string, readonly string[]>> = {
  gemma2: ['attentionScale'],
  gemma3_text: ['attentionScale', 'layers', 'ropes'],
  mistral: ['family', 'layers'],
  smollm3: ['layers'],
};
