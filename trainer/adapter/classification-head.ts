// The classification head of an adapter in training: its initial weights, and its fields in PEFT's configuration.
import { classNames } from '../../adapters/peft/peft-config.ts';
import { CLASSIFIER_NAMES, tensorName } from '../../adapters/peft/tensor-names.ts';
import { ConfigError } from '../../src/common/errors.ts';
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { normal, seededRandom, streamSeed } from '../random.ts';

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
