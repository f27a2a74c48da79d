// The reference for the serving graph: one sequence, float64, plain loops.
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { outputVector } from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import {
  biasName,
  embeddingName,
  finalNorm,
  hasBias,
  headName,
  layerTensor,
  weightName,
} from '../../src/model/names.ts';
import { TARGET_MODULES, type TargetName } from '../../src/model/target-modules.ts';

type Row = number[];
export type Weights = (name: string) => Float32Array;
/** Returns what the cache holds of a rotated key or a value [headDim]. */
export type CachedRow = (
  row: Row,
  at: { layer: number; half: 'key' | 'value'; head: number },
) => Row;

/** The logits [T][V] of a whole sequence. */
export function plainLogits(
  config: DecoderConfig,
  weights: Weights,
  tokenIds: readonly number[],
  adapter?: AdapterWeights,
  cached?: CachedRow,
): Row[] {
  const head = weights(config.tiedEmbeddings ? embeddingName : headName);
  return plainHidden(config, weights, tokenIds, adapter, cached).map((x) =>
    matVec(head, x, config.vocabSize),
  );
}

/** The outputs of the last norm [T][D] of a whole sequence. */
export function plainHidden(
  config: DecoderConfig,
  weights: Weights,
  tokenIds: readonly number[],
  adapter?: AdapterWeights,
  cached: CachedRow = (row) => row,
): Row[] {
  const { hiddenSize: D, headCount, kvHeadCount, headDim, layerCount } = config;
  const linear = (x: Row, layer: number, target: TargetName): Row => {
    const out = TARGET_MODULES[target].outFeatures(config);
    const bias = hasBias(config, target) ? weights(biasName(layer, target)) : undefined;
    const y = matVec(weights(weightName(layer, target)), x, out).map(
      (v, i) => v + (bias?.[i] ?? 0),
    );
    const vector = (kind: 'scale' | 'bias') =>
      adapter?.vectors.get(outputVector(kind, layer, target));
    const [scales, biases] = [vector('scale'), vector('bias')];
    const changed = y.map((v, o) => v + v * (scales?.[o] ?? 0) + (biases?.[o] ?? 0));
    const pair = adapter?.layers[layer]?.[target];
    if (!pair) return changed;
    const narrow = Array.from({ length: pair.rank }, (_, r) =>
      x.reduce((sum, v, i) => sum + v * pair.a[i * pair.rank + r]!, 0),
    );
    return changed.map(
      (v, o) => v + narrow.reduce((sum, n, r) => sum + n * pair.b[r * out + o]!, 0),
    );
  };
  let hidden = tokenIds.map((id) =>
    Array.from(weights(embeddingName).subarray(id * D, (id + 1) * D)),
  );
  for (let layer = 0; layer < layerCount; layer++) {
    const normed = hidden.map((x) =>
      rmsNorm(x, weights(layerTensor(layer, 'input_layernorm')), config),
    );
    const heads = (x: Row, target: TargetName, count: number, position: number, norm?: string) =>
      Array.from({ length: count }, (_, h) => {
        const head = linear(x, layer, target).slice(h * headDim, (h + 1) * headDim);
        if (norm === undefined) return head;
        const gamma = config.qkNorm ? weights(layerTensor(layer, `self_attn.${norm}`)) : undefined;
        return rotate(gamma ? rmsNorm(head, gamma, config) : head, position, config);
      });
    const q = normed.map((x, t) => heads(x, 'q_proj', headCount, t, 'q_norm'));
    const stored = (rows: Row[], half: 'key' | 'value') =>
      rows.map((row, head) => cached(row, { layer, half, head }));
    const k = normed.map((x, t) => stored(heads(x, 'k_proj', kvHeadCount, t, 'k_norm'), 'key'));
    const v = normed.map((x, t) => stored(heads(x, 'v_proj', kvHeadCount, t), 'value'));
    hidden = hidden.map((x, t) => {
      const mixed = q[t]!.flatMap((query, h) => {
        const kv = Math.floor((h * kvHeadCount) / headCount);
        const from = config.slidingWindow ? Math.max(0, t - config.slidingWindow + 1) : 0;
        const seen = k.slice(from, t + 1).map((keys) => keys[kv]!);
        const p = softmax(seen.map((key) => dot(query, key) / Math.sqrt(headDim)));
        return Array.from({ length: headDim }, (_, i) =>
          p.reduce((sum, weight, j) => sum + weight * v[from + j]![kv]![i]!, 0),
        );
      });
      return add(x, linear(mixed, layer, 'o_proj'));
    });
    hidden = hidden.map((x) => {
      const n = rmsNorm(x, weights(layerTensor(layer, 'post_attention_layernorm')), config);
      const up = linear(n, layer, 'up_proj');
      const fed = linear(n, layer, 'gate_proj').map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
      return add(x, linear(fed, layer, 'down_proj'));
    });
  }
  return hidden.map((x) => rmsNorm(x, weights(finalNorm), config));
}

const dot = (a: Row, b: Row) => a.reduce((sum, v, i) => sum + v * b[i]!, 0);
const add = (a: Row, b: Row) => a.map((v, i) => v + b[i]!);

function matVec(matrix: Float32Array, x: Row, rows: number): Row {
  const cols = x.length;
  return Array.from({ length: rows }, (_, r) => {
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += matrix[r * cols + c]! * x[c]!;
    return sum;
  });
}

function softmax(scores: Row): Row {
  const max = Math.max(...scores);
  const exps = scores.map((s) => Math.exp(s - max));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((e) => e / sum);
}

function rmsNorm(x: Row, gamma: Float32Array, { rmsNormEps }: DecoderConfig): Row {
  const inverse = 1 / Math.sqrt(dot(x, x) / x.length + rmsNormEps);
  return x.map((v, i) => v * inverse * gamma[i]!);
}

/** Half rotation with the plain frequencies theta^(-2i/d). */
function rotate(x: Row, position: number, { headDim, rope }: DecoderConfig): Row {
  const half = headDim / 2;
  return x.map((v, i) => {
    const angle = position * rope.theta ** (-(2 * (i % half)) / headDim);
    const other = i < half ? -x[i + half]! : x[i - half]!;
    return v * Math.cos(angle) + other * Math.sin(angle);
  });
}
