// Small models for the tests of src/ort, built from ONNX's protobuf messages.
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProtoSchema,
  TensorProto_DataLocation,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from '../../src/onnx/proto/onnx_pb.js';

type Value = MessageInitShape<typeof ValueInfoProtoSchema>;
type Node = MessageInitShape<typeof NodeProtoSchema>;
type Initializer = MessageInitShape<typeof TensorProtoSchema>;

export const FLOAT = 1;
export const INT64 = 7;
const BOOL = 9;

/** An input or output. A string is the name of a dimension. */
export function value(name: string, shape: readonly (number | string)[], elemType = FLOAT): Value {
  const dim = shape.map((size) => ({
    value:
      typeof size === 'number'
        ? { case: 'dimValue' as const, value: BigInt(size) }
        : { case: 'dimParam' as const, value: size },
  }));
  return { name, type: { value: { case: 'tensorType', value: { elemType, shape: { dim } } } } };
}

export function node(opType: string, input: string[], output: string[]): Node {
  return { opType, input, output };
}

/** An initializer with its bytes in a file. By default the file does not exist, and `initializers` replace it. */
export function absentWeight(
  name: string,
  shape: readonly number[],
  file = 'absent.bin',
): Initializer {
  const byteLength = shape.reduce((product, dim) => product * dim, 4);
  return {
    name,
    dims: shape.map(BigInt),
    dataType: FLOAT,
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: file },
      { key: 'offset', value: '0' },
      { key: 'length', value: String(byteLength) },
    ],
  };
}

export function model(graph: {
  inputs: Value[];
  outputs: Value[];
  nodes: Node[];
  initializers?: Initializer[];
}): Uint8Array {
  const { inputs: input, outputs: output, nodes, initializers: initializer = [] } = graph;
  const parts: MessageInitShape<typeof GraphProtoSchema> = {
    name: 'test',
    input,
    output,
    node: nodes,
    initializer,
  };
  const message = create(ModelProtoSchema, {
    irVersion: 9n,
    opsetImport: [{ domain: '', version: 21n }],
    graph: parts,
  });
  return toBinary(ModelProtoSchema, message);
}

/** `Y = A B`: A `[M, k]`, B `[k, n]` → Y `[M, n]`, M free. */
export function matmulModel(k: number, n: number): Uint8Array {
  return model({
    inputs: [value('A', ['M', k]), value('B', [k, n])],
    outputs: [value('Y', ['M', n])],
    nodes: [node('MatMul', ['A', 'B'], ['Y'])],
  });
}

/** `Y = A W`. The session gets W `[k, n]`, or reads it from a file. */
export function weightModel(k: number, n: number, file?: string): Uint8Array {
  return model({
    inputs: [value('A', ['M', k])],
    outputs: [value('Y', ['M', n])],
    nodes: [node('MatMul', ['A', 'W'], ['Y'])],
    initializers: [absentWeight('W', [k, n], file)],
  });
}

/** `Y = X + 1 + 1 …`, `trips` times, which takes as long as a test needs. X and Y are `[1]`. */
export function loopModel(): Uint8Array {
  const body = {
    name: 'body',
    input: [value('i', [], INT64), value('goOn', [], BOOL), value('x', [1])],
    output: [value('goOnOut', [], BOOL), value('xOut', [1])],
    node: [node('Identity', ['goOn'], ['goOnOut']), node('Add', ['x', 'one'], ['xOut'])],
    initializer: [{ name: 'one', dims: [1n], dataType: FLOAT, floatData: [1] }],
  };
  const attribute = [
    {
      name: 'body',
      type: AttributeProto_AttributeType.GRAPH,
      g: create(GraphProtoSchema, body),
    },
  ];
  return model({
    inputs: [value('trips', [], INT64), value('X', [1])],
    outputs: [value('Y', [1])],
    nodes: [{ opType: 'Loop', input: ['trips', '', 'X'], output: ['Y'], attribute }],
  });
}

/** The reference for `MatMul`: a `[m, k]`, b `[k, n]` → `[m, n]`. */
export function matmul(a: Float32Array, b: Float32Array, k: number): Float32Array {
  const m = a.length / k;
  const n = b.length / k;
  const y = new Float32Array(m * n);
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += a[row * k + i]! * b[i * n + column]!;
      y[row * n + column] = sum;
    }
  }
  return y;
}

/** Whole numbers from -8 to 8. Products and sums of a few thousand of them are exact in fp32. */
export function wholeNumbers(count: number, seed = 1): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 16) % 17) - 8;
  });
}
