// Gradients of a small graph by autodiff and, as its plain twin, by finite differences of the same graph.

import { elementCount } from '../../../src/common/tensor.ts';
import { type Dims, GraphBuilder, type Value } from '../../../src/onnx/graph-builder.ts';
import type { Binding } from '../../../src/ort/binding.ts';
import { createSession } from '../../../src/ort/session.ts';
import { hostTensor, type OrtTensor } from '../../../src/ort/tensor.ts';
import { appendBackward } from '../../../trainer/autodiff/backward.ts';
import type { Rule } from '../../../trainer/autodiff/rules.ts';
import { inferShapes } from '../../../trainer/autodiff/shapes.ts';
import { seededRandom } from '../../fixtures.ts';

export interface GraphCase {
  /** Differentiable inputs of the graph. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** Inputs without a gradient, with their values. */
  readonly fixed?: Readonly<Record<string, OrtTensor>>;
  /** y of these inputs. */
  build(g: GraphBuilder, input: (name: string) => Value, notes: Notes): Value;
  readonly output: readonly number[];
}

/** What a graph's maker tells the walk. */
interface Notes {
  /** A shape that cannot be inferred. */
  declare(value: Value, dims: Dims): void;
  setRule(value: Value, rule: Rule): void;
}

export interface Gradients {
  readonly analytic: Float32Array;
  readonly numeric: Float32Array;
}

/** d(sum of y * seed)/d(input) of each input, both ways. */
export async function gradientsOf(graphCase: GraphCase): Promise<Map<string, Gradients>> {
  const random = seededRandom(11);
  const tensors = new Map<string, OrtTensor>(Object.entries(graphCase.fixed ?? {}));
  const wanted = Object.keys(graphCase.inputs);
  for (const name of wanted) tensors.set(name, randomTensor(graphCase.inputs[name]!, random));
  const seed = randomTensor(graphCase.output, random);
  tensors.set('seed', seed);
  const y = hostTensor('float32', graphCase.output);
  const built = buildBoth(graphCase, wanted);

  const gradients = wanted.map((name) => hostTensor('float32', graphCase.inputs[name]!));
  await runOnce(built.backward, tensors, new Map(built.names.map((n, i) => [n, gradients[i]!])));

  const session = await createSession(built.forward, { intraOpThreads: 1 });
  const binding = session.createBinding();
  bindAll(binding, session.inputs, tensors);
  binding.bindOutput(built.y, y);
  const loss = () => {
    binding.runSync();
    return y.data.reduce((sum, value, i) => sum + value * seed.data[i]!, 0);
  };
  const result = new Map<string, Gradients>();
  for (const [i, name] of wanted.entries()) {
    const { data } = tensors.get(name) as OrtTensor<'float32'>;
    result.set(name, { analytic: gradients[i]!.data, numeric: differences(data, loss) });
  }
  binding.release();
  session.release();
  return result;
}

function buildBoth(graphCase: GraphCase, wanted: readonly string[]) {
  const construct = () => {
    const g = new GraphBuilder();
    const declared = new Map<Value, Dims>();
    for (const name of wanted) g.input(name, 'float32', graphCase.inputs[name]!);
    for (const [name, { type, shape }] of Object.entries(graphCase.fixed ?? {})) {
      g.input(name, type, shape);
    }
    const ownRules = new Map<Value, Rule>();
    const y = graphCase.build(g, (name) => name as Value, {
      declare: (value, dims) => declared.set(value, dims),
      setRule: (value, rule) => ownRules.set(value, rule),
    });
    return { g, y, declared, ownRules };
  };
  const forward = construct();
  forward.g.output(forward.y, 'float32', graphCase.output);
  const { g, y, declared, ownRules } = construct();
  const shapes = inferShapes(g, declared);
  const seed = g.input('seed', 'float32', graphCase.output);
  const request = { seeds: new Map([[y, seed]]), wanted: wanted as Value[], ownRules };
  const gradients = appendBackward(g, shapes, request);
  // A gradient may be the seed itself, for two inputs at once: each output gets a name of its own.
  const names = wanted.map((name) => g.node('Identity', [gradients.get(name as Value)!]));
  wanted.forEach((name, i) => {
    g.output(names[i]!, 'float32', graphCase.inputs[name]!);
  });
  return { forward: forward.g.toBytes(), y: forward.y, backward: g.toBytes(), names };
}

/** Central differences; the step balances rounding against curvature in float32. */
function differences(values: Float32Array, loss: () => number): Float32Array {
  const step = 0.01;
  return values.map((_, i) => {
    const value = values[i]!;
    values[i] = value + step;
    const above = loss();
    values[i] = value - step;
    const below = loss();
    values[i] = value;
    return (above - below) / (2 * step);
  });
}

/** Runs a graph on tensors by name. */
async function runOnce(
  graph: Uint8Array,
  inputs: ReadonlyMap<string, OrtTensor>,
  outputs: ReadonlyMap<string, OrtTensor>,
): Promise<void> {
  const session = await createSession(graph, { intraOpThreads: 1 });
  const binding = session.createBinding();
  bindAll(binding, session.inputs, inputs);
  for (const [name, tensor] of outputs) binding.bindOutput(name, tensor);
  await binding.run();
  binding.release();
  session.release();
}

function bindAll(
  binding: Binding,
  infos: readonly { readonly name: string }[],
  tensors: ReadonlyMap<string, OrtTensor>,
): void {
  for (const { name } of infos) binding.bindInput(name, tensors.get(name)!);
}

function randomTensor(shape: readonly number[], random: () => number): OrtTensor<'float32'> {
  const data = new Float32Array(elementCount(shape)).map(random);
  return hostTensor('float32', shape, data);
}
