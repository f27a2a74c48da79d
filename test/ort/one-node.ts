// Runs a single operator as a graph of one node.
import type { Attribute } from '../../src/onnx/graph-builder.ts';
import { GraphBuilder, LORIKEET } from '../../src/onnx/graph-builder.ts';
import { createSessionSync } from '../../src/ort/session.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';

export interface OneNode {
  readonly opType: string;
  readonly domain?: string;
  readonly attributes: Readonly<Record<string, Attribute>>;
  /** By name, in the operator's order. An absent optional input is undefined. */
  readonly inputs: Readonly<Record<string, OrtTensor | undefined>>;
  /** The run writes into these tensors. One of them may share its memory with an input. */
  readonly outputs: Readonly<Record<string, OrtTensor>>;
  readonly threads?: number | undefined;
}

export function runNode({ opType, domain = LORIKEET, attributes, threads = 2, ...node }: OneNode) {
  const g = new GraphBuilder();
  const operands = Object.entries(node.inputs).map(
    ([name, tensor]) => tensor && g.input(name, tensor.type, tensor.shape),
  );
  const outputs = Object.keys(node.outputs);
  const values = g.nodeWithOutputs(opType, operands, attributes, { domain, outputs });
  for (const value of values) {
    const { type, shape } = node.outputs[value]!;
    g.output(value, type, shape);
  }
  using session = createSessionSync(g.toBytes(), {
    intraOpThreads: threads,
    usesOwnOperators: domain === LORIKEET,
    isQuiet: true,
  });
  using binding = session.createBinding();
  for (const [name, tensor] of Object.entries(node.inputs)) {
    if (tensor) binding.bindInput(name, tensor);
  }
  for (const [name, tensor] of Object.entries(node.outputs)) binding.bindOutput(name, tensor);
  binding.runSync();
}
