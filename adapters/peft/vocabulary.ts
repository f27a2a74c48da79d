// Reads the tensors with which an adapter changes the embedding or the head: updates, whole tables, and the rows of some tokens.
import { type Tensor, toFloat32, transposed } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import type { TableChange, VocabularyChanges } from '../../src/model/vocabulary-changes.ts';
import type { AdapterConfig } from './adapter-config.ts';
import { invalidAdapter, MAX_WEIGHT, nonFinite } from './refusal.ts';
import { EMBEDDING, HEAD, presenceOf, tensorName } from './tensor-names.ts';
import { expectTensor, expectValues, type Tensors } from './tensors.ts';

/** The modules of the two tables. */
const TABLES = { embedding: EMBEDDING, head: HEAD } as const satisfies Record<
  keyof VocabularyChanges,
  string
>;

interface VocabularySource {
  readonly tensors: Tensors;
  readonly config: AdapterConfig;
  readonly model: DecoderConfig;
}

/**
 * Reads the changes of both tables, in the order in which they apply. Throws `ServeError` (422) with the tensor at fault as
 * `param`.
 */
export function readVocabulary(
  source: VocabularySource,
): [table: keyof VocabularyChanges, change: TableChange][] {
  refuseUnsupported(source);
  const { config, model } = source;
  const changes: [keyof VocabularyChanges, TableChange][] = [];
  for (const [table, module] of Object.entries(TABLES) as [keyof VocabularyChanges, string][]) {
    const add = (change: TableChange, isTied: boolean) => {
      changes.push([table, change]);
      if (table === 'embedding' && isTied) changes.push(['head', change]);
    };
    if (config.isSaved(module)) {
      const rows = tableOf(source, module, 'whole');
      add({ kind: 'whole', weight: 1, rows }, config.tiesWeights);
    }
    // peft trains both uses of a tied table.
    if (presenceOf('tokens', module, config))
      add(trainedTokens(source, module), model.tiedEmbeddings);
    if (config.isTargeted(module)) add(update(source, module), config.tiesWeights);
  }
  return changes;
}

function refuseUnsupported({ config, model }: VocabularySource): void {
  for (const module of Object.values(TABLES)) {
    const isTargeted = config.isTargeted(module);
    for (const [field, isOn] of [
      ['use_dora', config.isDora],
      ['lora_bias', config.hasUpdateBias],
    ] as const)
      if (isTargeted && isOn) throw invalidAdapter(field, `true is not supported on ${module}`);
  }
  const changesHead =
    config.isTargeted(HEAD) ||
    config.isSaved(HEAD) ||
    config.tiesWeights ||
    config.trainedTokens.size > 0;
  if (changesHead && model.logitsSoftcap)
    throw invalidAdapter(HEAD, `cannot be changed for ${model.family}, which caps its logits`);
  // peft names the embedding in the files that it saves.
  if (config.tiesWeights && (config.isTargeted(HEAD) || config.isSaved(HEAD)))
    throw invalidAdapter(
      'ensure_weight_tying',
      'true needs the embedding to be named, not the head',
    );
}

function trainedTokens(source: VocabularySource, module: string): TableChange {
  const { tensors, config, model } = source;
  const ids = config.trainedTokens.get(module)!;
  const { vocabSize, hiddenSize } = model;
  const outside = ids.find((id) => id >= vocabSize);
  if (outside !== undefined)
    throw invalidAdapter('trainable_token_indices', `the base has no token ${outside}`);
  const rows = expectValues(tensors, tensorName(module, 'tokens'), [ids.length, hiddenSize]);
  return { kind: 'tokens', weight: 1, ids, rows };
}

/** The update of a table, a b: for the embedding A^T B^T of its file, for the head B A. The scaling is in b. */
function update(source: VocabularySource, module: string): TableChange {
  const { tensors, config, model } = source;
  const { vocabSize, hiddenSize } = model;
  const { rank, scaling } = config.settingOf(module);
  if (tensors.has(tensorName(module, 'copy'))) tableShape(source, module, 'copy');
  const scaled = (key: string, tensor: Tensor) => {
    const values = toFloat32(tensor).map((value) => value * scaling);
    for (const value of values) if (!(Math.abs(value) <= MAX_WEIGHT)) throw nonFinite(key, value); // NaN fails too
    return values;
  };
  if (module === HEAD) {
    const key = tensorName(module, 'a');
    const b = scaled(key, expectTensor(tensors, key, [rank, hiddenSize]));
    const a = expectValues(tensors, tensorName(module, 'b'), [vocabSize, rank]);
    return { kind: 'update', weight: 1, rank, a, b };
  }
  const key = tensorName(module, 'embeddingB');
  const b = scaled(key, expectTensor(tensors, key, [hiddenSize, rank]));
  const a = expectValues(tensors, tensorName(module, 'embeddingA'), [rank, vocabSize]);
  return {
    kind: 'update',
    weight: 1,
    rank,
    a: transposed(a, [rank, vocabSize]),
    b: transposed(b, [hiddenSize, rank]),
  };
}

function tableOf(source: VocabularySource, module: string, tensor: 'whole'): Float32Array {
  const { hiddenSize, vocabSize } = source.model;
  tableShape(source, module, tensor);
  return expectValues(source.tensors, tensorName(module, tensor), [vocabSize, hiddenSize]);
}

/** Checks the shape of a whole table. */
function tableShape(
  { tensors, model }: VocabularySource,
  module: string,
  tensor: 'whole' | 'copy',
): void {
  const { hiddenSize, vocabSize } = model;
  const key = tensorName(module, tensor);
  const rows = tensors.get(key)?.shape[0];
  if (rows !== undefined && rows !== vocabSize)
    throw invalidAdapter(
      key,
      `has ${rows} tokens, the base has ${vocabSize}: resized vocabularies are not supported`,
    );
  expectTensor(tensors, key, [vocabSize, hiddenSize]);
}
