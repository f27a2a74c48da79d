// Builds one ONNX graph node by node and serializes it. Independent of any model.
import { create, toBinary } from '@bufbuild/protobuf';
import { assert } from '../common/assert.ts';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './proto/onnx_pb.js';

/** The name of a tensor inside one graph. */
export type Value = string & { readonly __value: true };

/** The element types of graph values. */
export type ElementType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'int8'
  | 'bool';

/** A shape. A symbolic dimension is a name; equal names stand for equal sizes. */
export type Dims = readonly (number | string)[];

/** A node's attribute: an integer, a float, a string or a list of integers. */
export type Attribute = number | { float: number } | string | readonly number[];

/** One operator of a graph. */
export interface GraphNode {
  readonly opType: string;
  readonly domain: string;
  /** An absent optional input is the empty string, as in ONNX. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** An input, output or weight of a graph. */
interface GraphValue {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: Dims;
}

/** The position of a tensor's bytes in a file; `offset` in bytes. */
export interface FileLocation {
  readonly file: string;
  readonly offset: number;
}

interface NodeOptions {
  domain?: string;
  /** One entry per output: a name, `true` for a generated name, `false` for an unused output. */
  outputs?: readonly (string | boolean)[];
}

/** The newest versions that both onnxruntime 1.30 and the reference checker support. */
const IR_VERSION = 9n;
const OPSET_VERSION = 21n;
/** The domain of ONNX Runtime's own operators. */
export const MICROSOFT = 'com.microsoft';
/** The domain of our own operators (`native/`). Sessions need the option `usesOwnOperators` for them. */
export const LORIKEET = 'lorikeet';

const DATA_TYPE = {
  float32: TensorProto_DataType.FLOAT,
  float16: TensorProto_DataType.FLOAT16,
  float64: TensorProto_DataType.DOUBLE,
  int32: TensorProto_DataType.INT32,
  int64: TensorProto_DataType.INT64,
  uint8: TensorProto_DataType.UINT8,
  int8: TensorProto_DataType.INT8,
  bool: TensorProto_DataType.BOOL,
} as const satisfies Record<ElementType, TensorProto_DataType>;

/** A graph under construction. */
export class GraphBuilder {
  readonly nodes: GraphNode[] = [];
  readonly inputs: GraphValue[] = [];
  readonly outputs: GraphValue[] = [];
  /** Weights whose values the session receives when it is created. The graph only declares them. */
  readonly externals = new Map<string, GraphValue>();
  readonly #constants = new Map<string, TensorProto>();
  #counter = 0;

  input(name: string, type: ElementType, dims: Dims): Value {
    this.inputs.push({ name, type, dims });
    return name as Value;
  }

  /** Declares a value as an output of the graph. */
  output(value: Value, type: ElementType, dims: Dims): void {
    this.outputs.push({ name: value, type, dims });
  }

  /** Declares a weight whose values the session receives. Equal names are one weight. */
  external(name: string, type: ElementType, dims: readonly number[]): Value {
    const earlier = this.externals.get(name);
    assert(
      !earlier || earlier.dims.join() === dims.join(),
      `weight ${name} declared with two shapes`,
    );
    this.externals.set(name, { name, type, dims });
    return name as Value;
  }

  /** Returns a small constant inside the graph. Equal constants are shared. */
  int64(values: readonly number[], dims: readonly number[] = [values.length]): Value {
    const data = new BigInt64Array(values.map(BigInt));
    return this.#constant('int64', dims, new Uint8Array(data.buffer));
  }

  /** Returns a scalar constant. */
  float(value: number, type: 'float32' | 'float16' = 'float32'): Value {
    const wide = this.#constant('float32', [], new Uint8Array(new Float32Array([value]).buffer));
    return type === 'float32' ? wide : this.cast(wide, type);
  }

  /** Returns a scalar constant of type uint8. */
  uint8(value: number): Value {
    return this.#constant('uint8', [], Uint8Array.of(value));
  }

  /** Converts a value to another element type. `name` is the result's name. */
  cast(value: Value, type: ElementType, name?: string): Value {
    const outputs = [name ?? true];
    return this.nodeWithOutputs('Cast', [value], { to: DATA_TYPE[type] }, { outputs })[0]!;
  }

  /** Splits a tensor along an axis into this many equal parts, or into parts of these lengths. */
  split(value: Value, parts: number | readonly number[], axis: number): Value[] {
    const isEqual = typeof parts === 'number';
    const outputs = new Array<true>(isEqual ? parts : parts.length).fill(true);
    const inputs = isEqual ? [value] : [value, this.int64(parts)];
    const attributes = isEqual ? { axis, num_outputs: parts } : { axis };
    return this.nodeWithOutputs('Split', inputs, attributes, { outputs });
  }

  /** Adds a node with one output. */
  node(
    opType: string,
    inputs: readonly (Value | undefined)[],
    attributes: Record<string, Attribute> = {},
    domain = '',
  ): Value {
    return this.nodeWithOutputs(opType, inputs, attributes, { domain })[0]!;
  }

  /** Adds a node. Returns the used outputs, in order. */
  nodeWithOutputs(
    opType: string,
    inputs: readonly (Value | undefined)[],
    attributes: Record<string, Attribute>,
    { domain = '', outputs = [true] }: NodeOptions,
  ): Value[] {
    const id = this.#counter++;
    const names = outputs.map((output, i) => {
      if (typeof output === 'string') return output;
      return output ? `${opType}_${id}_${i}` : '';
    });
    const node = { opType, domain, inputs: inputs.map((v) => v ?? ''), outputs: names, attributes };
    this.nodes.push(node);
    return names.filter((name) => name !== '') as Value[];
  }

  /** The names and shapes of the constants. */
  get constants(): { readonly name: string; readonly dims: Dims }[] {
    return Array.from(this.#constants.values(), ({ name, dims }) => ({
      name,
      dims: dims.map(Number),
    }));
  }

  /** Serializes the ModelProto. `locations`: the weights that the session reads from files itself. */
  toBytes(locations: ReadonlyMap<string, FileLocation> = new Map()): Uint8Array {
    const externals = [...this.externals.values()].map((weight) =>
      toExternal(weight, locations.get(weight.name)),
    );
    const read = new Set(this.nodes.flatMap(({ inputs }) => inputs));
    const constants = [...this.#constants].filter(([name]) => read.has(name));
    const graph = create(GraphProtoSchema, {
      name: 'lorikeet',
      node: this.nodes.map(toNodeProto),
      input: this.inputs.map(toValueInfo),
      output: this.outputs.map(toValueInfo),
      initializer: [...constants.map(([, tensor]) => tensor), ...externals],
    });
    const model = create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      producerName: 'lorikeet',
      opsetImport: [
        { domain: '', version: OPSET_VERSION },
        { domain: MICROSOFT, version: 1n },
        { domain: LORIKEET, version: 1n },
      ],
      graph,
    });
    return toBinary(ModelProtoSchema, model);
  }

  #constant(
    type: 'int64' | 'float32' | 'uint8',
    dims: readonly number[],
    rawData: Uint8Array,
  ): Value {
    const key = `const_${type}_${dims.join('x')}_${Buffer.from(rawData).toString('hex')}`;
    if (!this.#constants.has(key)) {
      this.#constants.set(
        key,
        create(TensorProtoSchema, {
          name: key,
          dataType: DATA_TYPE[type],
          dims: dims.map(BigInt),
          rawData,
        }),
      );
    }
    return key as Value;
  }
}

function toNodeProto(node: GraphNode) {
  return create(NodeProtoSchema, {
    opType: node.opType,
    domain: node.domain,
    input: [...node.inputs],
    output: [...node.outputs],
    attribute: Object.entries(node.attributes).map(([name, value]) => toAttribute(name, value)),
  });
}

function toAttribute(name: string, value: Attribute): AttributeProto {
  const Type = AttributeProto_AttributeType;
  if (typeof value === 'string') {
    return create(AttributeProtoSchema, {
      name,
      type: Type.STRING,
      s: new TextEncoder().encode(value),
    });
  }
  if (typeof value === 'number') {
    assert(Number.isInteger(value), `attribute ${name}: write { float: ${value} }`);
    return create(AttributeProtoSchema, { name, type: Type.INT, i: BigInt(value) });
  }
  if ('float' in value)
    return create(AttributeProtoSchema, { name, type: Type.FLOAT, f: value.float });
  return create(AttributeProtoSchema, { name, type: Type.INTS, ints: value.map(BigInt) });
}

function toValueInfo({ name, type, dims }: GraphValue): ValueInfoProto {
  const dim = dims.map((d) => ({
    value:
      typeof d === 'number'
        ? ({ case: 'dimValue', value: BigInt(d) } as const)
        : ({ case: 'dimParam', value: d } as const),
  }));
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: 'tensorType', value: { elemType: DATA_TYPE[type], shape: { dim } } } },
  });
}

/** Without a location, the session receives the values. The format requires a file name, but no file is opened. */
function toExternal({ name, type, dims }: GraphValue, location?: FileLocation): TensorProto {
  const { file, offset } = location ?? { file: 'handed-in', offset: 0 };
  return create(TensorProtoSchema, {
    name,
    dataType: DATA_TYPE[type],
    dims: dims.map((d) => BigInt(d)),
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: file },
      { key: 'offset', value: String(offset) },
    ],
  });
}
