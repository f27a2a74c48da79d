// A published adapter in other programs: peft gives the logits that the server gives, and llama.cpp's converter opens it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import { toFloat32 } from '../../src/common/tensor.ts';
import { openGguf } from '../../src/formats/gguf.ts';
import { parseSafetensors } from '../../src/formats/safetensors.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { unpermuteRows } from '../../src/import/gguf-model.ts';
import { createRunner, runLogits, worstDifference } from '../engine/runner.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { findConverter } from './llama-cpp.ts';
import { succeed } from './program.ts';
import { runPython, skipWithout } from './python.ts';
import { letterRows, writeRows } from './rows.ts';

const LIMIT = 2e-4;
const source = sharedPath('golden', 'models', 'llama-tied');
const shared = skipUnless(source);
const noPeft = skipWithout('torch', 'transformers', 'peft', 'bitsandbytes', 'safetensors');

interface Trained {
  readonly base: string;
  readonly adapter: string;
}

/** Imports the golden llama, trains a few large steps and publishes, all by the command. */
async function publish(
  t: TestContext,
  quantization: string,
  flags: readonly string[],
): Promise<Trained> {
  const home = temporaryFolder(t);
  const base = path.join(home, 'base');
  const imported = ['import', source!, '--out', base, '--quantization', quantization];
  await succeed(imported, home);
  const steps = ['--max-steps', '8', '--learning-rate', '0.02', '--warmup-steps', '0'];
  const args = ['train', '--model', base, '--data', writeRows(home), '--name', 'letters'];
  const adapters = path.join(home, 'adapters');
  const all = [...args, ...steps, '--adapters', adapters, ...flags];
  await succeed(all, home);
  return { base, adapter: path.join(adapters, 'letters') };
}

/** Logits [T * V] of each row as served with exact weights. */
async function servedLogits(t: TestContext, { base, adapter }: Trained, rows: readonly number[][]) {
  const artifact = readArtifact(base);
  t.after(() => artifact.tensors.close());
  const cacheDir = temporaryFolder(t);
  const servingDir = await ensureServingFiles(artifact, { weights: 'f32', cacheDir });
  const { runner, slots, config } = createRunner(t, servingDir, { slotCount: 1, maxSeqLength: 64 });
  const files = await readAdapterFiles(adapter);
  slots.attach(await parseAdapter(files, config, adaptedBaseOf(artifact)));
  const logits: Float32Array[] = [];
  for (const tokenIds of rows) {
    const logitRows = tokenIds.map((_, row) => row);
    const input = { tokenIds, firstSlot: 0, pastLengths: [0], logitRows };
    logits.push(await runLogits(runner, { ...input, slots: [1] }));
  }
  return logits;
}

/** Bases and flags: what of an adapter's settings peft has to read as we do. */
const CASES: readonly (readonly [name: string, quantization: string, flags: readonly string[]])[] =
  [
    ['lora on all linears', 'none', ['--rank', '4']],
    ['rslora on some layers', 'none', ['--rank', '4', '--rslora', 'true', '--layers', '1']],
    ['targets by a regular expression', 'none', ['--rank', '2', '--targets', '.*(q|down)_proj']],
    ['qlora', 'nf4', ['--rank', '4', '--targets', 'q_proj,v_proj,up_proj']],
    ['DoRA', 'nf4', ['--rank', '4', '--dora', 'true']],
    ['biases of B', 'none', ['--rank', '4', '--lora-bias', 'true']],
    ['PiSSA', 'nf4', ['--rank', '4', '--init', 'pissa', '--targets', 'q_proj,down_proj']],
  ];

for (const [name, quantization, flags] of CASES) {
  test(`${name}: peft gives the logits that are served`, { skip: shared || noPeft }, async (t) => {
    const trained = await publish(t, quantization, flags);
    const rows = letterRows().map((ids) => ids.slice(0, 8));
    const out = path.join(temporaryFolder(t), 'logits.safetensors');
    const script = path.resolve('test/e2e/open_adapter.py');
    const args = [script, trained.base, trained.adapter, JSON.stringify(rows), out];
    const { status, error } = runPython(args);
    assert.equal(status, 0, error);
    const expected = toFloat32(parseSafetensors(readFileSync(out)).tensors.get('logits')!);
    const served = await servedLogits(t, trained, rows);
    const size = expected.length / rows.length;
    for (const [row, logits] of served.entries()) {
      const difference = worstDifference(logits, expected.subarray(row * size, (row + 1) * size));
      assert.ok(difference < LIMIT, `row ${row}: off by ${difference}`);
    }
  });
}

/** llama.cpp's name of a linear → transformers' module, and the heads whose rows it stores interleaved. */
const GGUF_MODULES: Readonly<
  Record<string, readonly [module: string, heads: 'q' | 'kv' | undefined]>
> = {
  attn_q: ['self_attn.q_proj', 'q'],
  attn_k: ['self_attn.k_proj', 'kv'],
  attn_v: ['self_attn.v_proj', undefined],
  attn_output: ['self_attn.o_proj', undefined],
  ffn_gate: ['mlp.gate_proj', undefined],
  ffn_up: ['mlp.up_proj', undefined],
  ffn_down: ['mlp.down_proj', undefined],
};

const converter = shared || noPeft ? undefined : findConverter();
const noConverter = converter && 'reason' in converter ? converter.reason : false;

for (const quantization of ['none', 'nf4']) {
  test(`llama.cpp's converter opens an adapter of a base in ${quantization}, tensor by tensor`, {
    skip: shared || noPeft || noConverter,
  }, async (t) => {
    assert.ok(converter && 'script' in converter);
    const { base, adapter } = await publish(t, quantization, ['--rank', '4', '--alpha', '12']);
    const file = path.join(temporaryFolder(t), 'adapter.gguf');
    // Its configuration is enough; that of an NF4 artifact the converter refuses (bitsandbytes).
    const options = ['--base', source!, '--outtype', 'f32', '--outfile', file];
    const { status, error } = runPython([converter.script, ...options, adapter]);
    assert.equal(status, 0, error);
    const { config, tensors } = readArtifact(base);
    tensors.close();
    const ours = parseSafetensors(readFileSync(path.join(adapter, 'adapter_model.safetensors')));
    const converted = await openGguf(file);
    t.after(() => converted.close());
    assert.equal(converted.metadata['adapter.lora.alpha'], 12);
    assert.equal(converted.shapes.size, ours.tensors.size);
    for (const [name, shape] of converted.shapes) {
      const found = /^blk\.(\d+)\.(\w+)\.weight\.lora_([ab])$/.exec(name);
      assert.ok(found, name);
      const [module, heads] = GGUF_MODULES[found[2]!]!;
      const side = found[3]!.toUpperCase();
      const own = ours.tensors.get(
        `base_model.model.model.layers.${found[1]}.${module}.lora_${side}.weight`,
      )!;
      assert.deepEqual(shape, own.shape, name);
      const count = heads === 'q' ? config.headCount : config.kvHeadCount;
      const values = converted.read(name);
      const isPermuted = side === 'B' && heads !== undefined;
      assert.deepEqual(
        isPermuted ? unpermuteRows(values, shape, count) : values,
        toFloat32(own),
        name,
      );
    }
  });
}
