// The tensors of an adapter in training, as one table. Each row gives the name in PEFT's file, the graph input, the shape, and
// the values at which the tensor changes nothing. Parameters, result files, planner and evaluation follow this table.

import { classNames } from '../../adapters/peft/peft-config.ts';
import {
  CLASSIFIER_NAMES,
  EMBEDDING,
  HEAD,
  type ModuleTensor,
  tensorName,
} from '../../adapters/peft/tensor-names.ts';
import { assert } from '../../src/common/assert.ts';
import { ConfigError } from '../../src/common/errors.ts';
import { type FloatDType, fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { embeddingName, expectedTensors, headName } from '../../src/model/names.ts';
import { moduleName, TARGET_MODULES, TARGET_NAMES } from '../../src/model/target-modules.ts';
import type { BlockAdapter } from '../graph/training-lowering.ts';
import type { PeftSettings } from '../job/peft-settings.ts';
import { normal, seededRandom, streamSeed } from '../random.ts';
import type { LoraSettings, Parameter } from '../types.ts';

/** A tensor of an adapter in training. */
export interface AdapterTensor {
  /** Its name in PEFT's file. The parameter has the same name. */
  readonly name: string;
  /**
   * The name of the graph input. A whole weight of the base uses its checkpoint name and so replaces the base's weight. Every
   * graph with this input receives the tensor, and adds to its gradient.
   */
  readonly input: string;
  readonly shape: readonly number[];
  /** Whether weight decay applies. */
  readonly decays: boolean;
  /** The values at which the model equals its base. */
  readonly neutral: Neutral;
  /** The factor that the engine applies to the values. */
  readonly scaling: number;
}

/** The values at which a tensor changes nothing. */
type Neutral =
  | { readonly kind: 'zeros' }
  /** The base's weight with the input's name. */
  | { readonly kind: 'base' }
  /** The norms of the rows of a linear's weight. */
  | { readonly kind: 'norms'; readonly module: string }
  /** A factor of the principal part of a linear's weight, the start of PiSSA. */
  | { readonly kind: 'principal'; readonly module: string; readonly factor: 'a' | 'b' };

/** Lists the tensors of an adapter, in the model's order. */
export function adapterTensors(
  config: DecoderConfig,
  settings: Omit<LoraSettings, 'init'>,
): AdapterTensor[] {
  const { classes } = settings;
  const layers = Array.from({ length: config.layerCount }, (_, layer) => layer);
  return [
    ...layers.flatMap((layer) => updateTensors(config, layer, blockAdapter(settings, layer))),
    ...vocabularyTensors(config, settings),
    ...wholeWeights(config, settings),
    ...(classes ? [tensorRow(CLASSIFICATION_HEAD, [classes.length, config.hiddenSize])] : []),
  ];
}

/** Returns a layer's adapted linears, in the order in which a block uses them. */
export function blockAdapter(
  { modules }: Pick<LoraSettings, 'modules'>,
  layer: number,
): BlockAdapter {
  return new Map(
    TARGET_NAMES.flatMap((target) => {
      const module = modules.get(moduleName(layer, target));
      return module ? [[target, module] as const] : [];
    }),
  );
}

/** Returns a row of the table. By default, the tensor changes nothing if it is zero. */
function tensorRow(
  name: string,
  shape: readonly number[],
  rest: Partial<AdapterTensor> = {},
): AdapterTensor {
  return {
    name,
    input: name,
    shape,
    decays: true,
    neutral: { kind: 'zeros' },
    scaling: 1,
    ...rest,
  };
}

/** Lists the tensors of a layer's adapted linears. */
function updateTensors(
  config: DecoderConfig,
  layer: number,
  adapter: BlockAdapter,
): AdapterTensor[] {
  return [...adapter].flatMap(([target, update]) => {
    const { rank, scaling, isDora, hasBias, isPissa } = update;
    const module = moduleName(layer, target);
    const inSize = TARGET_MODULES[target].inFeatures(config);
    const outSize = TARGET_MODULES[target].outFeatures(config);
    const row = (tensor: ModuleTensor, shape: number[], rest: Partial<AdapterTensor> = {}) =>
      tensorRow(tensorName(module, tensor), shape, rest);
    const neutral = (factor: 'a' | 'b'): Neutral =>
      isPissa ? { kind: 'principal', module, factor } : { kind: 'zeros' };
    const norms: Neutral = { kind: 'norms', module };
    return [
      row('a', [rank, inSize], { neutral: neutral('a') }),
      row('b', [outSize, rank], { neutral: neutral('b'), scaling }),
      ...(hasBias ? [row('updateBias', [outSize], { decays: false, scaling })] : []),
      ...(isDora ? [row('magnitude', [outSize], { neutral: norms })] : []),
    ];
  });
}

/**
 * Lists the updates of the embedding and the output head. The engine folds the scaling into the factor next to the hidden
 * state.
 */
function vocabularyTensors(
  { vocabSize, hiddenSize }: DecoderConfig,
  { modules }: Pick<LoraSettings, 'modules'>,
): AdapterTensor[] {
  const rows: AdapterTensor[] = [];
  const embedding = modules.get(EMBEDDING);
  if (embedding) {
    const { rank, scaling } = embedding;
    rows.push(
      tensorRow(tensorName(EMBEDDING, 'embeddingA'), [rank, vocabSize]),
      tensorRow(tensorName(EMBEDDING, 'embeddingB'), [hiddenSize, rank], { scaling }),
    );
  }
  const head = modules.get(HEAD);
  if (head) {
    const { rank, scaling } = head;
    rows.push(
      tensorRow(tensorName(HEAD, 'a'), [rank, hiddenSize], { scaling }),
      tensorRow(tensorName(HEAD, 'b'), [vocabSize, rank]),
    );
  }
  return rows;
}

/** Lists the base weights that the adapter stores whole. */
function wholeWeights(
  config: DecoderConfig,
  { whole = new Map() }: Pick<LoraSettings, 'whole'>,
): AdapterTensor[] {
  const shapes = expectedTensors(config);
  shapes.set(headName, shapes.get(embeddingName)!); // a tied head can be trained separately
  return Array.from(whole, ([input, name]) => {
    const shape = shapes.get(input);
    assert(shape, `the base has no ${input}`);
    return tensorRow(name, shape, { input, decays: shape.length > 1, neutral: { kind: 'base' } });
  });
}

// Converts a trained adapter to PEFT's file and back. As in peft, a PiSSA adapter becomes a plain one of twice the rank, from
// the trained factors and the initial ones: W + s (B A - B₀ A₀) = W + s [B | -B₀] [A ; A₀].

/** The fields of a parameter that decide how it is stored. */
export type StoredParameter = Pick<Parameter, 'name' | 'shape' | 'data' | 'neutral' | 'startedAs'>;

/** Returns a parameter's tensor for the file. Values are rounded to nearest, ties to even. */
export function toStored(parameter: StoredParameter, dtype: FloatDType): Tensor {
  const { shape, data, neutral, startedAs } = parameter;
  if (!startedAs) return fromFloat32(data, shape, dtype);
  const [rows, cols] = shape as [number, number];
  const both = new Float32Array(2 * data.length);
  if (startedAs === 'a') {
    both.set(data);
    both.set(neutral!, data.length);
    return fromFloat32(both, [2 * rows, cols], dtype);
  }
  for (let row = 0; row < rows; row++) {
    const [from, to] = [row * cols, 2 * row * cols];
    both.set(data.subarray(from, from + cols), to);
    for (let i = 0; i < cols; i++) both[to + cols + i] = -neutral![from + i]!;
  }
  return fromFloat32(both, [rows, 2 * cols], dtype);
}

/** Reads a parameter back, together with its initial values. Inverse of `toStored`, except for rounding. */
export function fromStored(
  { name, shape, data, neutral, startedAs }: StoredParameter,
  tensor: Tensor,
) {
  const values = toFloat32(tensor);
  assert(values.length === (startedAs ? 2 : 1) * data.length, `${name} has another size`);
  if (!startedAs) return data.set(values);
  const [rows, cols] = shape as [number, number];
  if (startedAs === 'a') {
    data.set(values.subarray(0, data.length));
    neutral!.set(values.subarray(data.length));
    return;
  }
  for (let row = 0; row < rows; row++) {
    const [to, from] = [row * cols, 2 * row * cols];
    data.set(values.subarray(from, from + cols), to);
    for (let i = 0; i < cols; i++) neutral![to + i] = -values[from + cols + i]!;
  }
}

/** Returns the settings of the stored file. A doubled rank keeps its scaling. */
export function storedSettings(peft: PeftSettings): PeftSettings {
  if (peft.init_lora_weights === true) return peft;
  const factor = peft.use_rslora ? Math.SQRT2 : 2;
  return {
    ...peft,
    init_lora_weights: true,
    r: 2 * peft.r,
    lora_alpha: factor * peft.lora_alpha,
    rank_pattern: multiplied(peft.rank_pattern, 2),
    alpha_pattern: multiplied(peft.alpha_pattern, factor),
  };
}

function multiplied(values: Readonly<Record<string, number>>, factor: number) {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, factor * value]));
}

// The classification head of an adapter in training: its initial weights, and its fields in PEFT's configuration.

/** The fields that only a classifier's configuration contains. peft ignores the names of the classes; our server reads them. */
export interface ClassifierFields {
  task_type: 'SEQ_CLS';
  id2label: Readonly<Record<string, string>>;
}

/** The name of the head [classes, D] in PEFT's file, as transformers' decoders call it. */
export const CLASSIFICATION_HEAD = tensorName(CLASSIFIER_NAMES[0], 'whole');
/** `initializer_range` of the supported families. */
const DEVIATION = 0.02;

/**
 * Returns the configuration fields of a classifier.
 * @param classes their names
 * @param saved other modules that the adapter stores whole
 */
export function classifierFields(
  classes: readonly string[],
  saved: readonly string[] | null,
): ClassifierFields & { modules_to_save: readonly string[] } {
  return {
    task_type: 'SEQ_CLS',
    modules_to_save: [...new Set([...(saved ?? []), ...CLASSIFIER_NAMES])].sort(),
    id2label: Object.fromEntries(classes.entries()),
  };
}

/** Draws a head [classes, D] as transformers does, from a normal distribution. */
export function drawClassificationHead(
  classes: number,
  { hiddenSize }: DecoderConfig,
  seed: number,
): Tensor {
  const random = seededRandom(streamSeed(seed, CLASSIFICATION_HEAD));
  const values = new Float32Array(classes * hiddenSize).map(() => DEVIATION * normal(random));
  return fromFloat32(values, [classes, hiddenSize], 'F32');
}

/** The classification head of an adapter. */
interface ClassificationHead {
  /** The names of the classes. */
  readonly classes: readonly string[];
  /** [classes, D] */
  readonly head: Tensor;
}

/** Reads the head of an adapter that the server's reader has accepted; undefined if it is not a classifier. */
export function readClassificationHead(
  fields: Partial<ClassifierFields>,
  tensors: ReadonlyMap<string, Tensor>,
): ClassificationHead | undefined {
  if (fields.task_type !== 'SEQ_CLS') return undefined;
  const [head] = CLASSIFIER_NAMES.flatMap((name) => tensors.get(tensorName(name, 'whole')) ?? []);
  return { classes: classNames(head!.shape[0]!, fields.id2label ?? {}), head: head! };
}

/** Checks that an adapter to continue has a classification head exactly if the rows have labels. @throws ConfigError */
export function refuseOtherTask(
  ofAdapter: readonly string[] | undefined,
  ofRows: readonly string[] | undefined,
): void {
  if ((ofAdapter === undefined) === (ofRows === undefined)) return;
  throw new ConfigError(
    ofAdapter
      ? 'initAdapter: is a classifier, but the rows of data have no label'
      : 'initAdapter: is not a classifier, but the rows of data have a label',
  );
}
