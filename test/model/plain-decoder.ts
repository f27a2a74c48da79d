// The reference for the serving graph: one sequence, float64, plain loops.
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { normVector, outputVector } from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import type { SubLayerNorms } from '../../src/model/families.ts';
import {
  biasName,
  embeddingName,
  finalNorm,
  hasBias,
  headName,
  layerTensor,
  weightName,
} from '../../src/model/names.ts';
import type { Rope } from '../../src/model/rope.ts';
import { TARGET_MODULES, type TargetName, targetNames } from '../../src/model/target-modules.ts';
import type { VocabularyTable } from '../../src/model/vocabulary-changes.ts';

/** The length of the slots of the tests that compare with this. */
const CONTEXT = 32;

type Row = number[];
export type Weights = (name: string) => Float32Array;
/** Returns what the cache holds of a rotated key or a value [headDim]. */
export type CachedRow = (
  row: Row,
  at: { layer: number; half: 'key' | 'value'; head: number },
) => Row;

/** The logits [T][V] of a whole sequence in a context of `CONTEXT` positions. */
export function plainLogits(
  config: DecoderConfig,
  weights: Weights,
  tokenIds: readonly number[],
  adapter?: AdapterWeights,
  cached?: CachedRow,
): Row[] {
  const own = weights(config.tiedEmbeddings ? embeddingName : headName);
  const head = changedTable(own, 'head', adapter, config);
  const size = adapter?.vocabulary.own?.size ?? config.vocabSize;
  return plainHidden(config, weights, tokenIds, adapter, cached).map((x) =>
    softcap(matVec(head, times(x, config.logitsScale), size), config.logitsSoftcap),
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
  /** The weight of a norm with what the adapter adds. */
  const norm = (name: string) => {
    const added = adapter?.vectors.get(normVector(name));
    return weights(name).map((v, i) => v + (added?.[i] ?? 0));
  };
  /** The outputs of linears with the same input, side by side. */
  const project = (x: Row, layer: number, targets: readonly TargetName[]): Row =>
    targets
      .filter((target) => targetNames(config).includes(target))
      .flatMap((target) => linear(x, layer, target));
  /** Applies a sub-layer to all positions. */
  const subLayer = (hidden: Row[], norms: SubLayerNorms, layer: number, f: (x: Row[]) => Row[]) => {
    const normalized = (name: string | undefined) => (x: Row) =>
      name ? rmsNorm(x, norm(layerTensor(layer, name)), config) : x;
    const outputs = f(hidden.map(normalized(norms.before))).map(normalized(norms.after));
    return hidden.map((x, t) => add(x, times(outputs[t]!, config.residualScale)));
  };
  const attention = (inputs: Row[], layer: number): Row[] => {
    const { rope, slidingWindow } = config.layers[layer]!;
    const qkv = inputs.map((x) => project(x, layer, ['q_proj', 'k_proj', 'v_proj', 'qkv_proj']));
    const headNorm = (row: Row, name: 'q_norm' | 'k_norm') =>
      rmsNorm(row, norm(layerTensor(layer, `self_attn.${name}`)), config);
    const heads = (from: number, count: number, name?: 'q_norm' | 'k_norm') =>
      qkv.map((row, position) => {
        const part = row.slice(from * headDim, (from + count) * headDim);
        const whole = name && config.qkNorm === 'all heads' ? headNorm(part, name) : part;
        return Array.from({ length: count }, (_, h) => {
          const head = whole.slice(h * headDim, (h + 1) * headDim);
          if (!name) return head;
          const normed = config.qkNorm === 'per head' ? headNorm(head, name) : head;
          return rope ? rotate(normed, position, rope, config) : normed;
        });
      });
    const stored = (positions: Row[][], half: 'key' | 'value') =>
      positions.map((rows) => rows.map((row, head) => cached(row, { layer, half, head })));
    const q = heads(0, headCount, 'q_norm');
    const k = stored(heads(headCount, kvHeadCount, 'k_norm'), 'key');
    const v = stored(heads(headCount + kvHeadCount, kvHeadCount), 'value');
    return q.map((queries, t) => {
      const mixed = queries.flatMap((query, h) => {
        const kv = Math.floor((h * kvHeadCount) / headCount);
        const from = slidingWindow ? Math.max(0, t - slidingWindow + 1) : 0;
        const seen = k.slice(from, t + 1).map((keys) => keys[kv]!);
        const scores = seen.map((key) => dot(query, key) * config.attentionScale);
        const p = softmax(softcap(scores, config.attentionSoftcap));
        return Array.from({ length: headDim }, (_, i) =>
          p.reduce((sum, weight, j) => sum + weight * v[from + j]![kv]![i]!, 0),
        );
      });
      return linear(mixed, layer, 'o_proj');
    });
  };
  const mlp = (x: Row, layer: number): Row => {
    const gateUp = project(x, layer, ['gate_proj', 'up_proj', 'gate_up_proj']);
    const up = gateUp.slice(config.intermediateSize);
    const fed = up.map((u, i) => ACTIVATIONS[config.activation](gateUp[i]!) * u);
    return linear(fed, layer, 'down_proj');
  };
  let hidden = tokenIds.map((id) => {
    const table = changedTable(weights(embeddingName), 'embedding', adapter, config);
    const row = Array.from(table.subarray(id * D, (id + 1) * D));
    return times(row, config.embeddingScale);
  });
  for (let layer = 0; layer < layerCount; layer++) {
    const { norms } = config;
    hidden = subLayer(hidden, norms.attention, layer, (xs) => attention(xs, layer));
    hidden = subLayer(hidden, norms.mlp, layer, (xs) => xs.map((x) => mlp(x, layer)));
  }
  return hidden.map((x) => rmsNorm(x, norm(finalNorm), config));
}

/** A table [vocabulary, width] of the base with the changes and the new rows of an adapter, element by element. */
function changedTable(
  base: Float32Array,
  table: VocabularyTable,
  adapter: AdapterWeights | undefined,
  { hiddenSize: width, vocabSize }: DecoderConfig,
): Float32Array {
  if (!adapter) return base;
  const { [table]: changes, own } = adapter.vocabulary;
  const size = own?.size ?? vocabSize;
  return Float32Array.from({ length: size * width }, (_, at) => {
    const [id, i] = [Math.floor(at / width), at % width];
    if (id >= vocabSize) return own![table][(id - vocabSize) * width + i]!;
    return changes.reduce((sum, change) => {
      const { weight } = change;
      if (change.kind === 'update') {
        const { rank, a, b } = change;
        for (let r = 0; r < rank; r++) sum += weight * a[id * rank + r]! * b[r * width + i]!;
        return sum;
      }
      const row = change.kind === 'whole' ? id : change.ids.indexOf(id);
      return row < 0 ? sum : sum + weight * (change.rows[row * width + i]! - base[at]!);
    }, base[at]!);
  });
}

const ACTIVATIONS: Record<DecoderConfig['activation'], (x: number) => number> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu_pytorch_tanh: (x) =>
    0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

const softcap = (x: Row, cap: number | undefined) =>
  cap ? x.map((v) => cap * Math.tanh(v / cap)) : x;
const times = (x: Row, factor: number) => x.map((v) => factor * v);

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

function rmsNorm(x: Row, weight: Float32Array, { rmsNormEps, normAddsOne }: DecoderConfig): Row {
  const inverse = 1 / Math.sqrt(dot(x, x) / x.length + rmsNormEps);
  return x.map((v, i) => v * inverse * (weight[i]! + (normAddsOne ? 1 : 0)));
}

/** Rotates the first channels, each with the one half of them further on. The frequencies are the config's. */
function rotate(x: Row, position: number, rope: Rope, { rotaryDim }: DecoderConfig): Row {
  const half = rotaryDim / 2;
  const { frequencies } = rope.long && CONTEXT > rope.long.upTo ? rope.long : rope;
  return x.map((v, i) => {
    if (i >= rotaryDim) return v;
    const angle = position * frequencies[i % half]!;
    const other = i < half ? -x[i + half]! : x[i - half]!;
    return rope.magnitude * (v * Math.cos(angle) + other * Math.sin(angle));
  });
}
