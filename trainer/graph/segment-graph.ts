// Builds the graphs of a segment: a few consecutive decoder blocks. The forward graph maps hidden states to hidden states. The
// backward graph computes gradients, and recomputes the tensors that were not saved. Segments with the same adapted linears
// share graphs.

import { assert } from '../../src/common/assert.ts';
import { append } from '../../src/common/long-arrays.ts';
import { decoderBlock, type Residual } from '../../src/model/decoder.ts';
import type { Dims, GraphBuilder, Value } from '../../src/onnx/graph-builder.ts';
import { appendBackward, pruneNodes } from '../autodiff/backward.ts';
import { inferShapes, type Shapes } from '../autodiff/shapes.ts';
import { INPUT_SUFFIX } from './inputs.ts';
import { type LoweringOptions, TrainingLowering } from './training-lowering.ts';

/** The properties that a segment's graphs depend on. */
export interface SegmentSpec extends LoweringOptions {
  /** Whether a weight that the graph reads under this name is trained. */
  readonly isTrained: (name: string) => boolean;
  /** Whether the backward graph recomputes everything, or reads the tensors that the forward graph saved. */
  readonly recompute: boolean;
}

/** The names of a segment's inputs. */
export const SEGMENT = {
  /** float32 [tokens, D]: the residual stream before the first block */
  hidden: 'hidden',
  /** float32 [tokens, D]: d(loss)/d(output), an input of the backward graph */
  outputGradient: 'd_output',
} as const;

/** A tensor that the forward graph saves for the backward graph. */
interface SavedValue {
  readonly name: string;
  readonly dims: Dims;
}

/** The graphs of a segment, and the names of their outputs. */
export interface SegmentGraphs {
  readonly forward: Uint8Array;
  readonly backward: Uint8Array;
  /** float32 [tokens, D], an output of the forward graph. */
  readonly output: string;
  /** float32 [tokens, D], an output of the backward graph. */
  readonly inputGradient: string;
  /** Trained weight → the backward graph's output with its accumulated gradient. */
  readonly gradients: ReadonlyMap<string, string>;
  /** Outputs of the forward graph and inputs of the backward graph. Empty if the backward graph recomputes. */
  readonly saved: readonly SavedValue[];
}

/**
 * The operators whose results are saved: products and attention weights are expensive to recompute. Transposed heads are saved
 * instead of their products, which also saves rotating and transposing them again.
 */
const SAVED_OPERATORS = new Set(['Gemm', 'MatMul', 'Softmax', 'Transpose']);

/** Builds the forward and backward graphs of a segment, as two ONNX models. */
export function segmentGraphs(spec: SegmentSpec): SegmentGraphs {
  const { builder: backward, shapes, products, ...names } = jointGraph(spec);
  const gradients = [names.inputGradient, ...names.gradients.values()];
  const saved = spec.recompute ? [] : valuesToSave({ g: backward, shapes, products, gradients });
  for (const { name, dims } of saved) backward.input(name, 'float32', dims);
  prune(backward, gradients, new Set(saved.map(({ name }) => name)));
  for (const name of gradients) backward.output(name as Value, 'float32', dimsOfGradient(name));

  function dimsOfGradient(name: string): Dims {
    if (name === names.inputGradient) return ['tokens', spec.config.hiddenSize];
    const [weight] = [...names.gradients].find(([, gradient]) => gradient === name)!;
    return shapes.get(weight)!;
  }

  const forward = forwardGraph(spec, saved);
  return {
    forward: forward.toBytes(),
    backward: backward.toBytes(),
    ...names,
    saved,
  };
}

/** Builds a forward graph without saved tensors, for evaluation. */
export function evaluationGraph(spec: Omit<SegmentSpec, 'dropout' | 'isTrained' | 'recompute'>): {
  forward: Uint8Array;
  output: string;
} {
  const { builder, output } = blocks({ ...spec, dropout: false });
  builder.output(output, 'float32', ['tokens', spec.config.hiddenSize]);
  return { forward: builder.toBytes(), output };
}

/** Builds the blocks' nodes. Equal specs give equal nodes, including the names of values. */
function blocks(options: LoweringOptions) {
  const { config, layers } = options;
  const lowering = new TrainingLowering(options);
  const { g } = lowering;
  const hidden = g.input(SEGMENT.hidden, 'float32', ['tokens', config.hiddenSize]);
  let residual: Residual = { sum: hidden, delta: undefined };
  layers.forEach((_, block) => {
    residual = decoderBlock(lowering, config, block, residual);
  });
  const output = g.node('Add', [residual.sum, residual.delta]);
  const { declared, ownRules } = lowering;
  return { builder: g, hidden, output, declared, ownRules };
}

function forwardGraph(spec: SegmentSpec, saved: readonly SavedValue[]): GraphBuilder {
  const { builder, output } = blocks(spec);
  builder.output(output, 'float32', ['tokens', spec.config.hiddenSize]);
  for (const { name, dims } of saved) builder.output(name as Value, 'float32', dims);
  return builder;
}

/** Builds blocks and gradients in one graph. */
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
  const products = [...ownRules.keys()];
  return { builder, shapes, products, output, inputGradient, gradients: byWeight };
}

/** Returns the expensive tensors that the gradients read, directly or through cheap operators. */
function valuesToSave(joint: {
  readonly g: GraphBuilder;
  readonly shapes: Shapes;
  /** Results of matrix products that consist of several nodes. */
  readonly products: readonly Value[];
  readonly gradients: readonly string[];
}): SavedValue[] {
  const { g, shapes, products, gradients } = joint;
  const single = g.nodes.filter(({ opType }) => SAVED_OPERATORS.has(opType));
  const expensive = new Set([...single.map(({ outputs }) => outputs[0]!), ...products]);
  // Two kinds are left out: gradients, whose shapes are unknown here, and merged weights, which have no batch dimension.
  const saved = [...expensive].filter((name) =>
    shapes.get(name)?.some((dim) => typeof dim === 'string'),
  );
  const given = new Set(saved);
  const read = new Set(pruneNodes(g.nodes, gradients, given).flatMap(({ inputs }) => inputs));
  return saved.filter((name) => read.has(name)).map((name) => ({ name, dims: shapes.get(name)! }));
}

/** Removes the nodes and inputs that the outputs do not need, given some values. */
function prune(g: GraphBuilder, outputs: readonly string[], given: ReadonlySet<string>): void {
  const nodes = pruneNodes(g.nodes, outputs, given);
  refill(g.nodes, nodes);
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  const inputs = g.inputs.filter(({ name }) => read.has(name));
  refill(g.inputs, inputs);
}

function refill<T>(array: T[], items: readonly T[]): void {
  array.length = 0;
  append(array, items);
}
