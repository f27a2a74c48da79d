// Runs a single operator as a graph of one node, and compares its results bit by bit.
import assert from 'node:assert/strict';
import { type Attribute, GraphBuilder, LORIKEET } from '../../src/onnx/graph-builder.ts';
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
    allowSpinning: false,
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

/** Compares bits, so that NaNs are equal and zeros of different signs are not. */
export function assertSameBits(
  got: Float32Array | Int8Array,
  want: Float32Array | Int8Array,
  label: string,
): void {
  const [a, b] = [got, want].map((data) =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  );
  if (a!.equals(b!)) return;
  const at = want.findIndex((value, i) => !Object.is(value, got[i]));
  assert.fail(`${label}: ${got[at]} instead of ${want[at]} at ${at} of ${want.length}`);
}
