// The two graphs of a segment, i.e. of some consecutive decoder blocks: forward, hidden states in to hidden states out,
// and backward, which recomputes the blocks from their input and gives the gradients. All segments with the same
// adapted linears share them. Knows names and shapes; tensors are bound elsewhere.
import { assert } from '../../src/common/assert.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { decoderBlock, type Residual } from '../../src/model/decoder.ts';
import type { Dims, GraphBuilder, Value } from '../../src/onnx/graph-builder.ts';
import { appendBackward, pruneNodes } from '../autodiff/backward.ts';
import { inferShapes, type Shapes } from '../autodiff/shapes.ts';
import { type BlockAdapter, INPUT_SUFFIX, TrainingLowering } from './training-lowering.ts';

export interface SegmentSpec {
  readonly config: DecoderConfig;
  /** What LoRA adapts, by block of the segment. */
  readonly adapters: readonly BlockAdapter[];
  readonly dropout: boolean;
  /** Whether a weight that the graph reads under this name is trained. */
  readonly isTrained: (name: string) => boolean;
  /** Whether the backward graph recomputes everything, or reads what the forward graph kept. */
  readonly recompute: boolean;
}

export const SEGMENT = {
  /** float32 [tokens, D]: the residual stream before the first block */
  hidden: 'hidden',
  /** float32 [tokens, D]: d(loss)/d(output), of the backward graph */
  outputGradient: 'd_output',
} as const;

/** A value that the forward graph leaves for the backward graph. */
export interface SavedValue {
  readonly name: string;
  readonly dims: Dims;
}

export interface SegmentGraphs {
  readonly forward: Uint8Array;
  readonly backward: Uint8Array;
  /** float32 [tokens, D], an output of the forward graph. */
  readonly output: string;
  /** float32 [tokens, D], an output of the backward graph. */
  readonly inputGradient: string;
  /** Trained weight → the backward graph's output with its gradient: the one before plus this run's. */
  readonly gradients: ReadonlyMap<string, string>;
  /** Outputs of the forward graph and inputs of the backward graph; none where the latter recomputes. */
  readonly kept: readonly SavedValue[];
}

/**
 * What is worth keeping: products and attention weights are dear to compute again, all else is cheap. Transposed heads
 * are kept in place of the products they come from, which saves turning and transposing them again.
 */
const SAVED_OPERATORS = new Set(['Gemm', 'MatMul', 'Softmax', 'Transpose']);

/** Forward and backward of a segment, as two ONNX models. */
export function segmentGraphs(spec: SegmentSpec): SegmentGraphs {
  const { builder: backward, shapes, ...names } = jointGraph(spec);
  const gradients = [names.inputGradient, ...names.gradients.values()];
  const kept = spec.recompute ? [] : valuesToSave(backward, shapes, gradients);
  for (const { name, dims } of kept) backward.input(name, 'float32', dims);
  cut(backward, gradients, new Set(kept.map(({ name }) => name)));
  for (const name of gradients) backward.output(name as Value, 'float32', dimsOfGradient(name));

  function dimsOfGradient(name: string): Dims {
    if (name === names.inputGradient) return ['tokens', spec.config.hiddenSize];
    const [weight] = [...names.gradients].find(([, gradient]) => gradient === name)!;
    return shapes.get(weight)!;
  }

  const forward = forwardGraph(spec, kept);
  return {
    forward: forward.toBytes(),
    backward: backward.toBytes(),
    ...names,
    kept,
  };
}

/** The forward graph alone: for evaluation. */
export function evaluationGraph(spec: Omit<SegmentSpec, 'dropout' | 'isTrained' | 'recompute'>): {
  forward: Uint8Array;
  output: string;
} {
  const { builder, output } = blocks({ ...spec, dropout: false });
  builder.output(output, 'float32', ['tokens', spec.config.hiddenSize]);
  return { forward: builder.toBytes(), output };
}

/** The blocks' nodes, equal for equal specs down to the names of values. */
function blocks({
  config,
  adapters,
  dropout,
}: Pick<SegmentSpec, 'config' | 'adapters' | 'dropout'>) {
  const lowering = new TrainingLowering({ config, adapters, dropout });
  const { g } = lowering;
  const hidden = g.input(SEGMENT.hidden, 'float32', ['tokens', config.hiddenSize]);
  let residual: Residual = { sum: hidden, delta: undefined };
  adapters.forEach((_, block) => {
    residual = decoderBlock(lowering, block, residual);
  });
  const output = g.node('Add', [residual.sum, residual.delta]);
  const { declared, ownRules } = lowering;
  return { builder: g, hidden, output, declared, ownRules };
}

function forwardGraph(spec: SegmentSpec, kept: readonly SavedValue[]): GraphBuilder {
  const { builder, output } = blocks(spec);
  builder.output(output, 'float32', ['tokens', spec.config.hiddenSize]);
  for (const { name, dims } of kept) builder.output(name as Value, 'float32', dims);
  return builder;
}

/** Blocks and gradients in one graph. */
function jointGraph(spec: SegmentSpec) {
  const { builder, hidden, output, declared, ownRules } = blocks(spec);
  const trained = builder.inputs.filter(({ name }) => spec.isTrained(name));
  const shapes = inferShapes(builder, declared);
  const dims = ['tokens', spec.config.hiddenSize];
  const outputGradient = builder.input(SEGMENT.outputGradient, 'float32', dims);
  const accumulated = new Map(
    trained.map(({ name, dims }) => [
      name as Value,
      builder.input(name + INPUT_SUFFIX.gradient, 'float32', dims),
    ]),
  );
  const gradients = appendBackward(builder, shapes, {
    seeds: new Map([[output, outputGradient]]),
    wanted: [hidden, ...accumulated.keys()],
    accumulated,
    ownRules,
  });
  const inputGradient = gradients.get(hidden);
  assert(inputGradient, 'a block passes gradients on');
  const byWeight = new Map(trained.map(({ name }) => [name, gradients.get(name as Value)!]));
  return { builder, shapes, output, inputGradient, gradients: byWeight };
}

/** The dear values of the forward part that the gradients read, at first hand or through cheap operators. */
function valuesToSave(g: GraphBuilder, shapes: Shapes, gradients: readonly string[]): SavedValue[] {
  const dear = new Set(
    g.nodes.filter(({ opType }) => SAVED_OPERATORS.has(opType)).map(({ outputs }) => outputs[0]!),
  );
  // Of the forward part, and of a size that follows the batch: not a weight that was put together.
  const kept = [...dear].filter((name) => shapes.get(name)?.some((dim) => typeof dim === 'string'));
  const given = new Set(kept);
  const read = new Set(pruneNodes(g.nodes, gradients, given).flatMap(({ inputs }) => inputs));
  return kept.filter((name) => read.has(name)).map((name) => ({ name, dims: shapes.get(name)! }));
}

/** Keeps what computes the outputs from the given values; drops inputs that nothing reads any more. */
function cut(g: GraphBuilder, outputs: readonly string[], given: ReadonlySet<string>): void {
  const nodes = pruneNodes(g.nodes, outputs, given);
  g.nodes.splice(0, g.nodes.length, ...nodes);
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  const inputs = g.inputs.filter(({ name }) => read.has(name));
  g.inputs.splice(0, g.inputs.length, ...inputs);
}
