// The loss of one chunk of token rows: final norm, logits and weighted cross entropy. The same graph computes the gradient of
// the hidden rows, so the logits never leave it. With int8, the logits are a product in per-token form; the gradient stays in
// float, because most probabilities are too small for 8 bits. C = rows of the chunk, V = vocabulary size or number of classes.

import { EMBEDDING, HEAD, tensorName } from '../../adapters/peft/tensor-names.ts';
import { assert } from '../../src/common/assert.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { embeddingName, finalNorm, headName } from '../../src/model/names.ts';
import { quantizeRows, rowProduct } from '../../src/model/row-product.ts';
import { scaled, softcapped } from '../../src/model/shared-nodes.ts';
import { GraphBuilder, type Value } from '../../src/onnx/graph-builder.ts';
import { CLASSIFICATION_HEAD } from '../adapter/classification-head.ts';
import { appendBackward } from '../autodiff/backward.ts';
import { gradientRules, type Rule } from '../autodiff/rules.ts';
import { inferShapes } from '../autodiff/shapes.ts';
import type { Compute, LoraSettings } from '../types.ts';
import { INPUT_SUFFIX } from './inputs.ts';
import { rowInt8Input } from './row-int8.ts';
import { rmsNorm } from './training-lowering.ts';

/** The names of the graph's inputs and outputs. */
export const LOSS_HEAD = {
  /** float32 [C, D]: rows of the residual stream that have a target */
  hidden: 'hidden_rows',
  /** int64 [C, 1] */
  targets: 'targets',
  /** float32 [C, 1]: loss weights */
  weights: 'target_weights',
  /** float32 [C, 1]: -log p(target), unweighted */
  loss: 'token_loss',
  /** float32 [C, 1]: the target's logit minus the largest logit; 0 if the prediction is correct */
  margin: 'margin',
  /** float32 [C, V]: output of the logits graph */
  logits: 'logits',
} as const;

/** The graph that computes loss and gradients. */
export interface LossHeadGraph {
  readonly bytes: Uint8Array;
  /** float32 [C, D]: d(sum of weight * loss)/d(hidden rows) */
  readonly hiddenGradient: string;
  /** Trained weight → the output with its accumulated gradient. */
  readonly gradients: ReadonlyMap<string, string>;
}

/** Builds the graph of loss and gradients. */
export function lossHeadGraph(
  spec: LossHeadSpec,
  isTrained: (name: string) => boolean,
): LossHeadGraph {
  const head = logitsOf(spec);
  const { g, hidden, logits } = head;
  const shapes = inferShapes(g, new Map());
  const { targets, probabilities } = addLoss(g, logits);
  const weights = g.input(LOSS_HEAD.weights, 'float32', ['chunk', 1]);
  const trained = head.weights.filter(({ name }) => isTrained(name));
  const accumulated = new Map(
    trained.map(({ name, dims }) => [name, g.input(name + INPUT_SUFFIX.gradient, 'float32', dims)]),
  );
  const gradients = appendBackward(g, shapes, {
    seeds: new Map([[logits, probabilities]]),
    wanted: [hidden, ...accumulated.keys()],
    accumulated,
    ownRules: lossRules(head, spec, { targets, weights }),
  });
  const hiddenGradient = gradients.get(hidden)!;
  g.output(hiddenGradient, 'float32', ['chunk', spec.config.hiddenSize]);
  for (const { name, dims } of trained) g.output(gradients.get(name)!, 'float32', dims);
  const byWeight = new Map(trained.map(({ name }) => [name as string, gradients.get(name)!]));
  return { bytes: g.toBytes(), hiddenGradient, gradients: byWeight };
}

/** Returns the rules that turn p = softmax(logits) [C, V], passed as the gradient of the logits, into the loss's gradients. */
function lossRules(
  head: Logits,
  { softcap, update }: LossHeadSpec,
  loss: LossInputs,
): ReadonlyMap<Value, Rule> {
  if (update) {
    assert(!softcap, 'a head with a soft cap has no update');
    return new Map([[head.logits, updatedRule(loss)]]);
  }
  return new Map(
    softcap
      ? [
          [head.logits, cappedRule(head, softcap, loss)],
          [head.products, productRule(head)],
        ]
      : [[head.logits, crossEntropyRule(head, loss)]],
  );
}

/** The rule for the logits' Gemm(narrow, second, x Wᵀ) with the update of W: d(logits) = w * (p - onehot(target)). */
function updatedRule(loss: LossInputs): Rule {
  return (context) => {
    const { g, dy: p } = context;
    const dy = g.node('Mul', [minusTarget(g, p, loss), loss.weights]);
    gradientRules['Gemm']!({ ...context, dy });
  };
}

/** The rule for logits = softcap(products): d(products) = w * (p - onehot(target)) * (1 - (logits / cap)²). */
function cappedRule({ products, logits }: Logits, cap: number, loss: LossInputs): Rule {
  return ({ g, dy: p, add }) => {
    const gradient = g.node('Mul', [minusTarget(g, p, loss), loss.weights]);
    const share = g.node('Mul', [logits, g.float(1 / cap)]);
    const slope = g.node('Sub', [g.float(1), g.node('Mul', [share, share])]);
    add(products, g.node('Mul', [gradient, slope]));
  };
}

/** The rule for products = x Wᵀ. The gradient stays in float if the products are in int8. */
function productRule({ x, matrix }: Logits): Rule {
  return ({ g, dy, needs, add, addGemm }) => {
    add(x, g.node('Gemm', [dy, matrix]));
    if (needs(matrix)) addGemm(matrix, [dy, x], { transA: 1 });
  };
}

interface LossInputs {
  readonly targets: Value;
  readonly weights: Value;
}

/** p - onehot(target) [C, V] */
function minusTarget(g: GraphBuilder, p: Value, { targets }: LossInputs): Value {
  const minusOne = g.node('Expand', [g.float(-1), g.node('Shape', [targets])]);
  return g.node('ScatterElements', [p, targets, minusOne], { axis: 1, reduction: 'add' });
}

/**
 * The rule for the logits' Gemm(x, W, transB), given p = softmax(logits) [C, V] as dy: d(logits) = w * (p - onehot(target)).
 * Weights and targets are applied to narrow rows: dx = w * (p W - W[target]). d(logits), a copy of p, is only formed if W is
 * trained.
 */
function crossEntropyRule({ x, matrix: w }: Pick<Logits, 'x' | 'matrix'>, loss: LossInputs): Rule {
  const { targets, weights } = loss;
  return ({ g, dy: p, needs, add, addGemm }) => {
    const ids = g.node('Reshape', [targets, g.int64([-1])]);
    const targetRows = g.node('Gather', [w, ids], { axis: 0 }); // [C, D]
    const narrow = g.node('Sub', [g.node('Gemm', [p, w]), targetRows]);
    add(x, g.node('Mul', [narrow, weights]));
    if (!needs(w)) return;
    addGemm(w, [minusTarget(g, p, loss), g.node('Mul', [x, weights])], { transA: 1 });
  };
}

/** Builds a graph of the loss without gradients, for evaluation. */
export function evaluationHeadGraph(spec: LossHeadSpec): Uint8Array {
  const { g, logits } = logitsOf(spec);
  addLoss(g, logits);
  return g.toBytes();
}

/** Builds a graph of the logits alone. */
export function logitsGraph(spec: LossHeadSpec): Uint8Array {
  const { g, logits } = logitsOf(spec);
  g.output(logits, 'float32', ['chunk', spec.size]);
  return g.toBytes();
}

interface Logits {
  readonly g: GraphBuilder;
  readonly hidden: Value;
  /** float32 [C, D]: the output of the final norm, scaled */
  readonly x: Value;
  /** float32 [V, D] */
  readonly matrix: Value;
  /** float32 [C, V]: x times the transposed matrix, and the logits made from it. Without a soft cap the two are the same. */
  readonly products: Value;
  readonly logits: Value;
  readonly weights: readonly { readonly name: Value; readonly dims: readonly number[] }[];
}

function logitsOf({ config, matrix, size, scale, softcap, compute, update }: LossHeadSpec): Logits {
  const { hiddenSize } = config;
  const g = new GraphBuilder();
  const hidden = g.input(LOSS_HEAD.hidden, 'float32', ['chunk', hiddenSize]);
  const weight = (name: string, dims: readonly number[]) => ({
    name: g.input(name, 'float32', dims),
    dims,
  });
  const gamma = weight(finalNorm, [hiddenSize]);
  const head = weight(matrix, [size, hiddenSize]);
  const normalized = rmsNorm(g, hidden, gamma.name, config);
  const x = scaled(g, normalized, scale);
  const weights = [gamma, head];
  const product = compute === 'int8' ? rowInt8Product : floatProduct;
  const products = update ? updated(update) : product(softcap ? undefined : LOSS_HEAD.logits);
  const logits = softcap ? softcapped(g, products, softcap, LOSS_HEAD.logits) : products;
  return { g, hidden, x, matrix: head.name, products, logits, weights };

  /** Returns x Wᵀ, and the product with the update's factors. */
  function updated({ rank, scaling, isOfEmbedding, ...names }: LossHeadUpdate): Value {
    const [from, to] = [
      [hiddenSize, rank],
      [rank, size],
    ];
    const first = weight(names.first, isOfEmbedding ? from : from.reverse());
    const second = weight(names.second, isOfEmbedding ? to : to.reverse());
    weights.push(first, second);
    const transB = isOfEmbedding ? 0 : 1;
    const narrow = g.node('Gemm', [x, first.name], { transB }); // [C, rank]
    const inputs = [narrow, second.name, floatProduct()];
    const attributes = { transB, alpha: { float: scaling } };
    return g.nodeWithOutputs('Gemm', inputs, attributes, { outputs: [LOSS_HEAD.logits] })[0]!;
  }

  function floatProduct(name?: string): Value {
    const outputs = [name ?? true];
    return g.nodeWithOutputs('Gemm', [x, head.name], { transB: 1 }, { outputs })[0]!;
  }

  function rowInt8Product(name?: string): Value {
    const weight = rowInt8Input(g, matrix, [size, hiddenSize]);
    return rowProduct(g, quantizeRows(g, x), weight, name);
  }
}

/** Adds the loss. log Z = largest logit - log(largest probability) is exact even if p(target) underflows. */
function addLoss(g: GraphBuilder, logits: Value): { targets: Value; probabilities: Value } {
  const targets = g.input(LOSS_HEAD.targets, 'int64', ['chunk', 1]);
  const probabilities = g.node('Softmax', [logits], { axis: -1 }); // [C, V]
  const largest = (x: Value) => g.node('ReduceMax', [x, g.int64([-1])], { keepdims: 1 }); // [C, 1]
  const largestLogit = largest(logits);
  const logZ = g.node('Sub', [largestLogit, g.node('Log', [largest(probabilities)])]);
  const targetLogit = g.node('GatherElements', [logits, targets], { axis: 1 });
  const named = (name: string, inputs: Value[]) => {
    const [value] = g.nodeWithOutputs('Sub', inputs, {}, { outputs: [name] });
    g.output(value!, 'float32', ['chunk', 1]);
  };
  named(LOSS_HEAD.loss, [logZ, targetLogit]);
  named(LOSS_HEAD.margin, [targetLogit, largestLogit]);
  return { targets, probabilities };
}

/** The output head or classification head of a model in training. D = hidden size. */
export interface LossHeadSpec {
  readonly config: DecoderConfig;
  /** The name of its matrix [V, D]. */
  readonly matrix: string;
  /** V: the number of tokens or classes. */
  readonly size: number;
  /** Multiplies the matrix's inputs. */
  readonly scale: number;
  readonly softcap: number | undefined;
  /** The arithmetic of the logits. */
  readonly compute: Compute;
  readonly update: LossHeadUpdate | undefined;
  /** Whether an adapter changes the logits in other ways than through the hidden states. */
  readonly isTrained: boolean;
}

/** The trained update of a head's matrix. */
interface LossHeadUpdate {
  readonly rank: number;
  readonly scaling: number;
  /** The names of the factors that are applied first and second. */
  readonly first: string;
  readonly second: string;
  /**
   * Whether they are the embedding's factors, [D, rank] and [rank, V], because embedding and output head are tied. The output
   * head's own factors are A [rank, D] and B [V, rank].
   */
  readonly isOfEmbedding: boolean;
}

/** Returns the head of a model in training. @param adapter undefined if all weights are trained */
export function lossHeadOf(
  config: DecoderConfig,
  compute: Compute,
  adapter: Omit<LoraSettings, 'init'> | undefined,
): LossHeadSpec {
  const { classes } = adapter ?? {};
  return classes ? classifierHead(config, classes.length) : languageHead(config, compute, adapter);
}

function languageHead(
  config: DecoderConfig,
  compute: Compute,
  adapter: Omit<LoraSettings, 'init'> | undefined,
): LossHeadSpec {
  const { vocabSize: size, logitsScale: scale, logitsSoftcap: softcap } = config;
  const matrix = headMatrix(config, adapter);
  const update = headUpdate(adapter);
  const isTrained = update !== undefined || adapter?.whole?.has(matrix) === true;
  // Rounded weights would have to be rounded again after each step.
  const arithmetic = isTrained ? 'float32' : compute;
  return { config, matrix, size, scale, softcap, compute: arithmetic, update, isTrained };
}

/** transformers' sequence classifiers neither scale nor cap their scores. */
function classifierHead(config: DecoderConfig, size: number): LossHeadSpec {
  const plain = { scale: 1, softcap: undefined, compute: 'float32', update: undefined } as const;
  return { config, matrix: CLASSIFICATION_HEAD, size, ...plain, isTrained: true };
}

/**
 * Returns the name of the head's matrix. A tied output head uses the embedding, unless the adapter trains only one of the two.
 * The head then has a separate name.
 */
function headMatrix(
  { tiedEmbeddings }: DecoderConfig,
  { whole, tiesWeights }: Pick<LoraSettings, 'whole' | 'tiesWeights'> = {},
): string {
  const isSeparate = whole?.has(headName) || (whole?.has(embeddingName) && !tiesWeights);
  return tiedEmbeddings && !isSeparate ? embeddingName : headName;
}

function headUpdate(
  adapter: Pick<LoraSettings, 'modules' | 'tiesWeights'> | undefined,
): LossHeadUpdate | undefined {
  const own = adapter?.modules.get(HEAD);
  if (own) {
    const [first, second] = [tensorName(HEAD, 'a'), tensorName(HEAD, 'b')];
    return { ...own, first, second, isOfEmbedding: false };
  }
  const tied = adapter?.tiesWeights ? adapter.modules.get(EMBEDDING) : undefined;
  if (!tied) return undefined;
  const [first, second] = [
    tensorName(EMBEDDING, 'embeddingB'),
    tensorName(EMBEDDING, 'embeddingA'),
  ];
  return { ...tied, first, second, isOfEmbedding: true };
}
