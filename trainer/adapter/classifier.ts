// The classification head of an adapter in training: its first weights, and its fields in PEFT's configuration.
import { classNames } from '../../adapters/peft/classifier.ts';
import { CLASSIFIER_NAMES, tensorName } from '../../adapters/peft/tensor-names.ts';
import { ConfigError } from '../../src/common/errors.ts';
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { normal, seededRandom, streamSeed } from '../random.ts';

/** The fields of a classifier beside those of an adapter. peft ignores the names of the classes; our server reads them. */
export interface ClassifierFields {
  task_type: 'SEQ_CLS';
  id2label: Readonly<Record<string, string>>;
}

/** The name of the head [classes, D] in PEFT's file. transformers' decoders call it so. */
export const CLASSIFIER_HEAD = tensorName(CLASSIFIER_NAMES[0], 'whole');
/** `initializer_range` of the supported families. */
const DEVIATION = 0.02;

/**
 * Returns the fields of a classifier.
 * @param classes their names
 * @param saved other modules that it has whole
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
export function drawHead(classes: number, { hiddenSize }: DecoderConfig, seed: number): Tensor {
  const random = seededRandom(streamSeed(seed, CLASSIFIER_HEAD));
  const values = new Float32Array(classes * hiddenSize).map(() => DEVIATION * normal(random));
  return fromFloat32(values, [classes, hiddenSize], 'F32');
}

/** The head of an adapter that exists. */
export interface GivenHead {
  /** The names of the classes. */
  readonly classes: readonly string[];
  /** [classes, D] */
  readonly head: Tensor;
}

/** Reads the head of an adapter that the server's reader has accepted. Undefined if it is not a classifier. */
export function readHead(
  fields: Partial<ClassifierFields>,
  tensors: ReadonlyMap<string, Tensor>,
): GivenHead | undefined {
  if (fields.task_type !== 'SEQ_CLS') return undefined;
  const heads = CLASSIFIER_NAMES.flatMap((name) => tensors.get(tensorName(name, 'whole')) ?? []);
  const head = heads[0]!;
  return { classes: classNames(head.shape[0]!, fields.id2label ?? {}), head };
}

/** Checks that an adapter to continue has a head if the rows have labels. @throws ConfigError */
export function refuseOtherTask(
  given: readonly string[] | undefined,
  ofRows: readonly string[] | undefined,
): void {
  if ((given === undefined) === (ofRows === undefined)) return;
  throw new ConfigError([
    given
      ? 'initAdapter: is a classifier, but the rows of data have no label'
      : 'initAdapter: is not a classifier, but the rows of data have a label',
  ]);
}
