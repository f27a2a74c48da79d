// The tensors of an adapter in training, as one table. Each row gives the name in PEFT's file, the graph input, the shape, and
// the values at which the tensor changes nothing. Parameters, result files, planner and evaluation follow this table.

import {
  EMBEDDING,
  HEAD,
  type ModuleTensor,
  tensorName,
} from '../../adapters/peft/tensor-names.ts';
import { assert } from '../../src/common/assert.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { embeddingName, expectedTensors, headName } from '../../src/model/names.ts';
import { moduleName, TARGET_MODULES, TARGET_NAMES } from '../../src/model/target-modules.ts';
import type { BlockAdapter } from '../graph/training-lowering.ts';
import type { LoraSettings } from '../types.ts';
import { CLASSIFICATION_HEAD } from './classification-head.ts';

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
