// Describes the last part of a model, from hidden states to the logits of tokens or classes: its matrix, which may be trained,
// and the matrix's update.
import { EMBEDDING, HEAD, tensorName } from '../../adapters/peft/tensor-names.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { embeddingName, headName } from '../../src/model/names.ts';
import { CLASSIFIER_HEAD } from '../adapter/tensors.ts';
import type { Compute, LoraSettings } from '../types.ts';

/** The output head or classification head of a model in training. D = hidden size. */
export interface HeadSpec {
  readonly config: DecoderConfig;
  /** The name of its matrix [V, D]. */
  readonly matrix: string;
  /** V: the number of tokens or classes. */
  readonly size: number;
  /** Multiplies the matrix's inputs. */
  readonly scale: number;
  readonly softcap: number | undefined;
  /** The arithmetic of the logits. */
  readonly compute: Compute;
  readonly update: HeadUpdate | undefined;
  /** Whether an adapter changes the logits in other ways than through the hidden states. */
  readonly isTrained: boolean;
}

/** The trained update of a head's matrix. */
export interface HeadUpdate {
  readonly rank: number;
  readonly scaling: number;
  /** The names of the factors that are applied first and second. */
  readonly first: string;
  readonly second: string;
  /**
   * Whether they are the embedding's factors, [D, rank] and [rank, V], because embedding and output head are tied. The output
   * head's own factors are A [rank, D] and B [V, rank].
   */
  readonly isOfEmbedding: boolean;
}

/** Returns the head of a model in training. @param adapter undefined if all weights are trained */
export function headOf(
  config: DecoderConfig,
  compute: Compute,
  adapter: Omit<LoraSettings, 'init'> | undefined,
): HeadSpec {
  const { classes } = adapter ?? {};
  return classes ? classifierHead(config, classes.length) : languageHead(config, compute, adapter);
}

function languageHead(
  config: DecoderConfig,
  compute: Compute,
  adapter: Omit<LoraSettings, 'init'> | undefined,
): HeadSpec {
  const { vocabSize: size, logitsScale: scale, logitsSoftcap: softcap } = config;
  const matrix = headMatrix(config, adapter);
  const update = headUpdate(adapter);
  const isTrained = update !== undefined || adapter?.whole?.has(matrix) === true;
  // Rounded weights would have to be rounded again after each step.
  const arithmetic = isTrained ? 'float32' : compute;
  return { config, matrix, size, scale, softcap, compute: arithmetic, update, isTrained };
}

/** transformers' sequence classifiers neither scale nor cap their scores. */
function classifierHead(config: DecoderConfig, size: number): HeadSpec {
  const plain = { scale: 1, softcap: undefined, compute: 'float32', update: undefined } as const;
  return { config, matrix: CLASSIFIER_HEAD, size, ...plain, isTrained: true };
}

/**
 * Returns the name of the head's matrix. A tied output head uses the embedding, unless the adapter trains only one of the two.
 * The head then has a separate name.
 */
function headMatrix(
  { tiedEmbeddings }: DecoderConfig,
  { whole, tiesWeights }: Pick<LoraSettings, 'whole' | 'tiesWeights'> = {},
): string {
  const isSeparate = whole?.has(headName) || (whole?.has(embeddingName) && !tiesWeights);
  return tiedEmbeddings && !isSeparate ? embeddingName : headName;
}

function headUpdate(
  adapter: Pick<LoraSettings, 'modules' | 'tiesWeights'> | undefined,
): HeadUpdate | undefined {
  const own = adapter?.modules.get(HEAD);
  if (own) {
    const [first, second] = [tensorName(HEAD, 'a'), tensorName(HEAD, 'b')];
    return { ...own, first, second, isOfEmbedding: false };
  }
  const tied = adapter?.tiesWeights ? adapter.modules.get(EMBEDDING) : undefined;
  if (!tied) return undefined;
  const [first, second] = [
    tensorName(EMBEDDING, 'embeddingB'),
    tensorName(EMBEDDING, 'embeddingA'),
  ];
  return { ...tied, first, second, isOfEmbedding: true };
}
