// The tensors of an adapter in training, as one table: each with its name in PEFT's file, the graphs' input that it is, its shape,
// and the values with which it changes nothing. Parameters, result files, planner and evaluation follow this table.
import { EMBEDDING, HEAD, tensorName } from '../../adapters/peft/tensor-names.ts';
import { assert } from '../../src/common/assert.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { embeddingName, expectedTensors, headName, loraNames } from '../../src/model/names.ts';
import { moduleName, TARGET_MODULES, TARGET_NAMES } from '../../src/model/target-modules.ts';
import type { BlockAdapter } from '../graph/training-lowering.ts';
import type { LoraSettings } from '../types.ts';
import { CLASSIFIER_HEAD } from './classifier.ts';

/** A tensor of an adapter. */
export interface AdapterTensor {
  /** Its name in PEFT's file. The parameter has the same name. */
  readonly name: string;
  /**
   * The name of the graphs' input. A whole weight of the base has its name in the checkpoint, and so takes its place. Every graph
   * with this input gets the tensor, and adds to its gradient.
   */
  readonly input: string;
  readonly shape: readonly number[];
  /** Whether weight decay applies. */
  readonly decays: boolean;
  /** The values with which the model is its base: zeros, or the base's own weight of the input's name. */
  readonly neutral: 'zeros' | 'base';
  /** The factor with which the engine uses the values. */
  readonly scaling: number;
}

/** Lists the tensors of an adapter, in the model's order. */
export function adapterTensors(config: DecoderConfig, settings: LoraSettings): AdapterTensor[] {
  const layers = Array.from({ length: config.layerCount }, (_, layer) => layer);
  return [
    ...layers.flatMap((layer) => updateTensors(config, layer, blockAdapter(settings, layer))),
    ...vocabularyTensors(config, settings),
    ...wholeWeights(config, settings),
    ...classifierTensors(config, settings),
  ];
}

/** Returns the adapted linears of a layer, in the order in which a block uses them. */
export function blockAdapter({ modules }: LoraSettings, layer: number): BlockAdapter {
  return new Map(
    TARGET_NAMES.flatMap((target) => {
      const module = modules.get(moduleName(layer, target));
      return module ? [[target, module] as const] : [];
    }),
  );
}

/** A and B of the adapted linears of a layer. */
function updateTensors(
  config: DecoderConfig,
  layer: number,
  adapter: BlockAdapter,
): AdapterTensor[] {
  return [...adapter].flatMap(([target, { rank, scaling }]) => {
    const { inFeatures, outFeatures } = TARGET_MODULES[target];
    const { a, b } = loraNames(moduleName(layer, target));
    const common = { decays: true, neutral: 'zeros' } as const;
    return [
      { name: a, input: a, shape: [rank, inFeatures(config)], ...common, scaling: 1 },
      { name: b, input: b, shape: [outFeatures(config), rank], ...common, scaling },
    ];
  });
}

/** The updates of the embedding and the head. The engine folds the scaling into the factor on the side of the hidden state. */
function vocabularyTensors(
  { vocabSize, hiddenSize }: DecoderConfig,
  { modules }: Pick<LoraSettings, 'modules'>,
): AdapterTensor[] {
  const rows: AdapterTensor[] = [];
  const add = (name: string, shape: readonly number[], scaling: number) =>
    rows.push({ name, input: name, shape, decays: true, neutral: 'zeros', scaling });
  const embedding = modules.get(EMBEDDING);
  if (embedding) {
    const { rank, scaling } = embedding;
    add(tensorName(EMBEDDING, 'embeddingA'), [rank, vocabSize], 1);
    add(tensorName(EMBEDDING, 'embeddingB'), [hiddenSize, rank], scaling);
  }
  const head = modules.get(HEAD);
  if (head) {
    const { rank, scaling } = head;
    add(tensorName(HEAD, 'a'), [rank, hiddenSize], scaling);
    add(tensorName(HEAD, 'b'), [vocabSize, rank], 1);
  }
  return rows;
}

/** The weights of the base that the adapter has whole. */
function wholeWeights(config: DecoderConfig, { whole = new Map() }: LoraSettings): AdapterTensor[] {
  const known = expectedTensors(config);
  known.set(headName, known.get(embeddingName)!); // a tied head can be trained on its own
  return Array.from(whole, ([input, name]) => {
    const shape = known.get(input);
    assert(shape, `the base has no ${input}`);
    return { name, input, shape, decays: shape.length > 1, neutral: 'base', scaling: 1 };
  });
}

/** The head of a classifier. */
function classifierTensors(
  { hiddenSize }: DecoderConfig,
  { classes }: LoraSettings,
): AdapterTensor[] {
  if (!classes) return [];
  const [name, shape] = [CLASSIFIER_HEAD, [classes.length, hiddenSize]];
  return [{ name, input: name, shape, decays: true, neutral: 'zeros', scaling: 1 }];
}
