// Reads the tensors with which an adapter changes the embedding or the output head: updates, whole tables, and the rows of
// single tokens.
import { type Tensor, toFloat32, transposed } from '../../src/common/tensor.ts';
import type {
  OwnVocabulary,
  TableChange,
  VocabularyTable,
} from '../../src/model/vocabulary-changes.ts';
import {
  OwnTables,
  refuseUnaskedTables,
  resizedTo,
  type VocabularySource,
} from './own-vocabulary.ts';
import { invalidAdapter, MAX_WEIGHT, nonFinite } from './refusal.ts';
import { EMBEDDING, HEAD, tensorName } from './tensor-names.ts';
import { expectTensor, expectValues } from './tensors.ts';

/** The two tables and their modules. */
const TABLES: readonly (readonly [VocabularyTable, string])[] = [
  ['embedding', EMBEDDING],
  ['head', HEAD],
];

/** The changes of an adapter, in the order in which they apply. */
interface VocabularyReading {
  readonly changes: readonly (readonly [VocabularyTable, TableChange])[];
  /** Undefined: its tokens are the base's. */
  readonly own: OwnVocabulary | undefined;
}

/** Reads the changes of both tables. Throws `ServeError` (422) with the tensor at fault as `param`. */
export async function readVocabulary(source: VocabularySource): Promise<VocabularyReading> {
  const { tensors, config, model } = source;
  const resized = resizedTo(source);
  refuseUnsupported(source, resized?.key);
  if (!resized) refuseUnaskedTables(source);
  const own = resized && (await OwnTables.read(source, resized));
  const size = resized?.size ?? model.vocabSize;
  const changes: [VocabularyTable, TableChange][] = [...(own?.changes ?? [])];
  for (const [table, module] of TABLES) {
    const add = (change: TableChange, isTied: boolean) => {
      const tables: VocabularyTable[] =
        table === 'embedding' && isTied ? ['embedding', 'head'] : [table];
      const shared = own ? own.apply(tables, change) : change;
      if (shared) for (const one of tables) changes.push([one, shared]);
    };
    if (!resized && config.isSaved(module)) {
      const shape = [size, model.hiddenSize];
      const rows = expectValues(tensors, tensorName(module, 'whole'), shape);
      add({ kind: 'whole', weight: 1, rows }, config.tiesWeights);
    }
    // peft trains both uses of a tied table.
    const isTrained = config.trainedTokens.has(module) && !isTiedCopy(module, source);
    if (isTrained) add(trainedTokens(source, module, size), model.tiedEmbeddings);
    if (config.isTargeted(module)) add(update(source, module, size), config.tiesWeights);
  }
  return { changes, own: own?.vocabulary };
}

/** Whether the head's trained tokens repeat the embedding's: peft trains one table if both lists are equal. */
function isTiedCopy(module: string, { config, model }: VocabularySource): boolean {
  if (module !== HEAD || !model.tiedEmbeddings) return false;
  const [own, tied] = [HEAD, EMBEDDING].map((name) => config.trainedTokens.get(name));
  if (!tied || own?.join() === tied.join()) return true;
  throw invalidAdapter(
    'trainable_token_indices',
    'has different tokens for lm_head and embed_tokens, but the base ties them. Give both the same list',
  );
}

function refuseUnsupported(
  { config, model }: VocabularySource,
  resizedBy: string | undefined,
): void {
  for (const [, module] of TABLES) {
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
    config.trainedTokens.size > 0 ||
    resizedBy !== undefined;
  if (changesHead && model.logitsSoftcap)
    throw invalidAdapter(
      resizedBy ?? HEAD,
      `cannot be changed for ${model.family}, which caps its logits`,
    );
  // peft names the embedding in the files that it saves.
  if (config.tiesWeights && (config.isTargeted(HEAD) || config.isSaved(HEAD)))
    throw invalidAdapter(
      'ensure_weight_tying',
      'is true, so the embedding must be named. Put embed_tokens instead of lm_head into target_modules or modules_to_save',
    );
}

function trainedTokens(source: VocabularySource, module: string, size: number): TableChange {
  const { tensors, config, model } = source;
  const ids = config.trainedTokens.get(module)!;
  const outside = ids.find((id) => id >= size);
  if (outside !== undefined)
    throw invalidAdapter('trainable_token_indices', `the base has no token ${outside}`);
  const rows = expectValues(tensors, tensorName(module, 'tokens'), [ids.length, model.hiddenSize]);
  return { kind: 'tokens', weight: 1, ids, rows };
}

/**
 * Returns the update of a table, a b: for the embedding A^T B^T of its file, for the output head B A. b includes the scaling.
 */
function update(source: VocabularySource, module: string, size: number): TableChange {
  const { tensors, config, model } = source;
  const { hiddenSize } = model;
  const { rank, scaling } = config.settingOf(module);
  const copy = tensorName(module, 'copy');
  if (tensors.has(copy)) expectTensor(tensors, copy, [size, hiddenSize]);
  const scaled = (key: string, tensor: Tensor) => {
    const values = toFloat32(tensor).map((value) => value * scaling);
    for (const value of values) if (!(Math.abs(value) <= MAX_WEIGHT)) throw nonFinite(key, value); // NaN fails too
    return values;
  };
  if (module === HEAD) {
    const key = tensorName(module, 'a');
    const b = scaled(key, expectTensor(tensors, key, [rank, hiddenSize]));
    const a = expectValues(tensors, tensorName(module, 'b'), [size, rank]);
    return { kind: 'update', weight: 1, rank, a, b };
  }
  const key = tensorName(module, 'embeddingB');
  const b = scaled(key, expectTensor(tensors, key, [hiddenSize, rank]));
  const a = expectValues(tensors, tensorName(module, 'embeddingA'), [rank, size]);
  return {
    kind: 'update',
    weight: 1,
    rank,
    a: transposed(a, [rank, size]),
    b: transposed(b, [hiddenSize, rank]),
  };
}
