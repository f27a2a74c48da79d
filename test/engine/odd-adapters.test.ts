// Adapters of odd shapes in the slots of our own operator, while others come, go and move, against a plain decoder.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import type { SlotId } from '../../src/engine/batch.ts';
import { measureInputs } from '../../src/engine/calibration.ts';
import { Engine } from '../../src/engine/engine.ts';
import type { LogitsRow } from '../../src/engine/logits.ts';
import { outputVector, type VectorName } from '../../src/model/adapter-vectors.ts';
import type { TargetName } from '../../src/model/target-modules.ts';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder, tinyAdapter, tinyModel, wideAdapter } from '../fixtures.ts';
import { plainLogits } from '../model/plain-decoder.ts';

const skip = ownInstructions() === undefined && 'our own operators do not run on this machine';
const TOKENS = Array.from({ length: 24 }, (_, i) => (7 * i + 3) % 96);

/** The cosine of two vectors. */
function likeness(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

for (const family of ['llama', 'phi3']) {
  test(`${family}: adapters of odd shapes compute what plain code does, wherever their slots are`, {
    skip,
  }, async (t) => {
    const model = tinyModel({ model_type: family });
    const { config } = model;
    const [first, mlp]: TargetName[] =
      family === 'phi3' ? ['qkv_proj', 'gate_up_proj'] : ['k_proj', 'up_proj'];
    const servingDir = await ensureServingFiles(model.artifact, {
      ...{ weights: 'int8', cacheDir: temporaryFolder(t), packing: 'packed' },
      calibration: (dir) => measureInputs(dir, TOKENS),
    });
    const engine = await Engine.create({ servingDir, slotCount: 6, maxSeqLength: 32 });
    t.after(() => engine.release());

    const on = (seed: number, rank: number, targets: readonly TargetName[], layers?: number[]) =>
      tinyAdapter(config, { seed, rank, targets, ...(layers && { layers }) });
    const [one, other] = [on(1, 1, [first!, 'down_proj']), on(2, 5, [first!, 'down_proj'])];
    const bias = new Map<VectorName, Float32Array>();
    bias.set(outputVector('scale', 1, 'o_proj'), new Float32Array(config.hiddenSize).fill(0.5));
    const adapters = {
      'rank 1': on(3, 1, [first!]),
      'rank 3 on the last layer': on(4, 3, [mlp!], [1]),
      'one rank for each layer': {
        ...{ ...one, digest: 'mixed', rank: 5 },
        layers: [one.layers[0]!, other.layers[1]!],
      },
      'rank 100': on(5, 100, ['o_proj', 'down_proj']),
      'a vector alone': tinyAdapter(config, {
        ...{ seed: 6, rank: 0, targets: [], changes: { vectors: bias } },
      }),
      everything: wideAdapter(model, 7),
    };

    const decode = async (used: readonly (AdapterWeights | undefined)[]) => {
      const seen = used.map(() => new Float32Array());
      await engine.run({
        kind: 'decode',
        rows: used.map((adapter, row) => ({
          ...{ adapter: adapter?.digest, tokenId: TOKENS[row]!, pastLength: 0 },
          sampler: {
            sample: ({ logits }: LogitsRow) => {
              seen[row] = logits.slice();
              return { id: 0 };
            },
          },
        })),
      });
      return seen;
    };
    const attached: AdapterWeights[] = [];
    const check = async (label: string) => {
      const used = [undefined, ...attached];
      const all = await decode(used);
      for (const [row, adapter] of used.entries()) {
        const want = plainLogits(config, model.weights, [TOKENS[row]!], adapter)[0]!;
        const like = likeness(all[row]!, Float32Array.from(want));
        assert.ok(like > 0.99, `${label}, row ${row}: ${like}`);
      }
      const [alone] = await decode([undefined]);
      assert.deepEqual(alone, all[0], label);
    };
    for (const [name, adapter] of Object.entries(adapters)) {
      engine.attachAdapter(adapter);
      attached.push(adapter);
      if (attached.length < 6) await check(`with ${name}`);
    }
    // The last slot moves to the place of one that is detached.
    for (const at of [1, 0, 2]) {
      const [gone] = attached.splice(at, 1);
      engine.detachAdapter(gone!.digest);
      await check(`without the adapter ${at}`);
    }
    const [last] = attached;
    const slot = 0 as SlotId;
    const seen: Float32Array[] = [];
    await engine.run({
      ...{ kind: 'prefill', slot, adapter: last!.digest, tokenIds: TOKENS, pastLength: 0 },
      scoring: undefined,
      sampler: {
        sample: ({ logits }: LogitsRow) => {
          seen.push(logits.slice());
          return { id: 0 };
        },
      },
    });
    const want = plainLogits(config, model.weights, TOKENS, last).at(-1)!;
    assert.ok(likeness(seen[0]!, Float32Array.from(want)) > 0.99, 'a prompt');
  });
}
