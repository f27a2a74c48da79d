// The bounds of our operators: runs without rows, attributes and widths beyond the largest, and the memory that a run leaves.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GraphBuilder, LORIKEET } from '../../src/onnx/graph-builder.ts';
import { ownInstructions } from '../../src/ort/own-operators.ts';
import { createSession } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { ownAttention, ownAttributes, ownInputs, randomAttention } from './attention.ts';
import { linearInputs, ownLinear, randomAdapters, randomLinear } from './linears.ts';
import { runNode } from './one-node.ts';

const skip = ownInstructions() === undefined && 'our own operators do not run on this machine';
const SHAPE = { tokens: 0, inputs: 32, outputs: 48, groups: 1, floats: 2, hasBias: true };
const ADAPTERS = { slots: 2, ranks: 4, partEnds: [48], hasVectors: true };
const ATTENTION = {
  ...{ heads: 2, kvHeads: 1, headDim: 16, rotary: 16, window: 0, softcap: 0, scale: 1 },
  ...{ isPacked: true, isInt8: false, pasts: [3], tokens: 0, capacity: 8, magnitude: 1 },
};

test('a run without rows computes nothing', { skip }, () => {
  for (const activation of [0, 1]) {
    const linear = randomLinear(SHAPE, 1, activation);
    const adapters = randomAdapters(SHAPE, ADAPTERS, 2);
    assert.equal(ownLinear(linear).length, 0);
    assert.equal(ownLinear({ ...linear, adapters }).length, 0);
  }
  const attention = randomAttention(ATTENTION, 3);
  assert.equal(ownAttention(attention).y.length, 0);
  const outputs = {
    values: hostTensor('float32', [0, 3]),
    ids: hostTensor('int64', [0, 3]),
    log_sum_exp: hostTensor('float32', [0]),
  };
  const inputs = { logits: hostTensor('float32', [0, 9]) };
  runNode({ opType: 'TopLogits', attributes: { k: 3 }, inputs, outputs });
});

test('attributes and widths whose sums would overflow are errors', { skip }, () => {
  const run = (groups: number, inputs: number) => {
    const linear = { ...SHAPE, tokens: 1, inputs, outputs: 16, floats: 0, groups };
    const values = linearInputs(randomLinear(linear, 1));
    const outputs = { y: hostTensor('float32', [1, 16]) };
    runNode({
      opType: 'RowLinear',
      attributes: { groups, activation: 0, bits: 8 },
      inputs: values,
      outputs,
    });
  };
  run(1, 131072);
  assert.throws(() => run(1, 131072 + 4), /shapes of its inputs do not fit/);
  // Four times as many groups are 2^64, which is zero.
  assert.throws(() => run(2 ** 62, 32), /groups must be/);
});

function residentBytes(): number {
  const [kib] = /(?<=^VmRSS:\s+)\d+/m.exec(readFileSync('/proc/self/status', 'utf8'))!;
  return Number(kib) * 1024;
}

test('runs on several threads leave the memory of one', { skip }, async () => {
  const shape = { tokens: 2048, inputs: 4096, outputs: 16, groups: 1, floats: 0, hasBias: false };
  const linear = randomLinear(shape, 1, 1);
  const inputs = linearInputs(linear);
  const g = new GraphBuilder();
  const operands = Object.entries(inputs).map(
    ([name, tensor]) => tensor && g.input(name, tensor.type, tensor.shape),
  );
  const options = { domain: LORIKEET, outputs: ['y'] };
  g.nodeWithOutputs('RowLinear', operands, { groups: 1, activation: 1, bits: 8 }, options);
  g.output('y' as never, 'float32', [2048, 16]);
  using session = await createSession(g.toBytes(), { intraOpThreads: 1, usesOwnOperators: true });
  const bindings = Array.from({ length: 4 }, () => {
    const binding = session.createBinding();
    for (const [name, tensor] of Object.entries(inputs)) tensor && binding.bindInput(name, tensor);
    binding.bindOutput('y', hostTensor('float32', [2048, 16]));
    return binding;
  });
  const before = residentBytes();
  await Promise.all(bindings.map((binding) => binding.run()));
  const oneRun = 2048 * 4096 * (4 + 2); // activated values, and codes of up to 16 bits
  assert.ok(residentBytes() - before < 1.5 * oneRun, `${residentBytes() - before} of ${oneRun}`);
});

test('threads that end leave no memory', { skip }, () => {
  const capacity = 2 ** 18;
  const shape = {
    ...ATTENTION,
    heads: 48,
    kvHeads: 2,
    rotary: 0,
    pasts: [capacity - 1],
    tokens: 1,
  };
  const attention = randomAttention({ ...shape, capacity }, 3);
  const { opType, inputs } = ownInputs(attention);
  const y = hostTensor('float32', [1, 48 * 16]);
  const outputs = { y, present_key: inputs.past_key, present_value: inputs.past_value };
  const run = () => runNode({ opType, attributes: ownAttributes(attention), inputs, outputs });
  run(); // this thread keeps its memory
  const before = residentBytes();
  for (let i = 0; i < 6; i++) run();
  const ofThread = 24 * capacity * 4; // a row of scores for each head
  assert.ok(residentBytes() - before < 2 * ofThread, `${residentBytes() - before} of ${ofThread}`);
});
