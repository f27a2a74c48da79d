// Reverse-mode differentiation of a graph under construction. One walk over the nodes, last to first, appends the nodes that
// compute gradients. The result is a plain ONNX graph. `rules.ts` contains the operators' rules.
import { assert } from '../../src/common/assert.ts';
import type { GraphBuilder, GraphNode, Value } from '../../src/onnx/graph-builder.ts';
import { gradientRules, type Rule, type RuleContext } from './rules.ts';
import { knownDims, type Shapes } from './shapes.ts';

/** The gradients to compute. */
interface BackwardRequest {
  /** Value → its known gradient d(loss)/d(value). */
  readonly seeds: ReadonlyMap<Value, Value>;
  readonly wanted: readonly Value[];
  /** Value → the gradient of earlier runs, to be added to. */
  readonly accumulated?: ReadonlyMap<Value, Value>;
  /** Value → the rule for the node that computes the value, instead of the operator's. */
  readonly ownRules?: ReadonlyMap<Value, Rule>;
}

/**
 * Appends the gradients of `wanted` to the graph and returns their values. Asserts that the seeds depend on each wanted value,
 * and that every operator between them has a rule.
 */
export function appendBackward(
  g: GraphBuilder,
  shapes: Shapes,
  request: BackwardRequest,
): ReadonlyMap<Value, Value> {
  const { seeds, wanted, accumulated = new Map(), ownRules } = request;
  const forward = [...g.nodes];
  const dependent = dependents(forward, wanted);
  const gradients = new Map<string, Value>([...accumulated, ...seeds]);
  for (const node of forward.reverse()) {
    if (!node.outputs.some((name) => dependent.has(name))) continue;
    const dy = gradients.get(node.outputs[0]!);
    if (!dy) continue;
    const rule = ownRules?.get(node.outputs[0] as Value) ?? gradientRules[node.opType];
    assert(rule, `autodiff: the operator ${node.opType} has no gradient rule`);
    rule(contextOf(g, node, { dy, shapes, dependent, gradients }));
  }
  return new Map(
    wanted.map((value) => {
      const gradient = gradients.get(value);
      const isReached = gradient && gradient !== accumulated.get(value);
      assert(isReached, `autodiff: nothing of the loss depends on ${value}`);
      return [value, gradient];
    }),
  );
}

/** Returns the values that depend on the wanted ones, including the wanted ones. */
function dependents(nodes: readonly GraphNode[], wanted: readonly Value[]): Set<string> {
  const spread = new Set<string>(wanted);
  for (const { inputs, outputs } of nodes) {
    if (!inputs.some((name) => spread.has(name))) continue;
    for (const name of outputs) spread.add(name);
  }
  return spread;
}

interface Walk {
  readonly dy: Value;
  readonly shapes: Shapes;
  readonly dependent: ReadonlySet<string>;
  readonly gradients: Map<string, Value>;
}

function contextOf(g: GraphBuilder, node: GraphNode, walk: Walk): RuleContext {
  const { dy, shapes, dependent, gradients } = walk;
  return {
    g,
    node,
    dy,
    needs: (value) => dependent.has(value),
    dims: (value) => knownDims(shapes, value),
    add(value, gradient) {
      const sum = gradients.get(value);
      gradients.set(value, sum ? g.node('Add', [sum, gradient]) : gradient);
    },
    addGemm(value, factors, attributes) {
      const sum = gradients.get(value);
      gradients.set(value, g.node('Gemm', sum ? [...factors, sum] : factors, attributes));
    },
  };
}

/** Returns the nodes that the outputs need. `given` values come from outside, so the nodes that compute them are dropped. */
export function pruneNodes(
  nodes: readonly GraphNode[],
  outputs: readonly string[],
  given: ReadonlySet<string> = new Set(),
): GraphNode[] {
  const needed = new Set(outputs.filter((name) => !given.has(name)));
  const kept: GraphNode[] = [];
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some((name) => needed.has(name))) continue;
    kept.push(node);
    for (const name of node.inputs) if (!given.has(name)) needed.add(name);
  }
  return kept.reverse();
}
