// A failure of the trainer as data: a stable code, words for the one who made the job, and the job's field at fault as
// OpenAI's API calls it.
// Why a run cannot go on, as an error that ends it.
// An adapter that does not pass its gates, as an error that ends a run.
import {
  ConfigError,
  FileError,
  isDiskFull,
  ServeError,
  UsageError,
} from '../../src/common/errors.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { DISK_FULL_FAULT, type Fault } from '../../src/contracts/training.ts';
import { apiNameOf } from '../../src/contracts/training-fields.ts';
import { fileFault } from '../../src/rows/file-fault.ts';
import { DatasetError } from '../data/example.ts';

export function toFault(error: unknown): Fault {
  if (isDiskFull(error)) return DISK_FULL_FAULT;
  if (error instanceof DatasetError) return datasetFault(error);
  if (error instanceof TrainError || error instanceof GateError) {
    return { code: error.code, message: error.message, param: null };
  }
  if (error instanceof ServeError) return error.toPlain();
  if (error instanceof ConfigError || error instanceof UsageError) {
    const key = /^(\w+)(?:\.\w+)*: /.exec(error.message)?.[1];
    const param = key === undefined ? null : apiNameOf(key);
    return { code: 'invalid_request', message: error.message, param };
  }
  if (error instanceof FileError) {
    return { code: 'invalid_request', message: error.message, param: null };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'training_failed', message, param: null };
}

/** A server's job calls the file by its id. */
function datasetFault({ code, param, detail, faults, badLines, field }: DatasetError): Fault {
  return fileFault({ file: field, code, param, detail, faults, badLines });
}

/** A run cannot go on; what it has learned before is in its checkpoints. */
export class TrainError extends Error {
  override name = 'TrainError';
  readonly code: 'non_finite_loss' | 'nothing_to_learn';

  constructor(code: TrainError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** The run was not in vain: the adapter is in its folder, but it is not published. */
export class GateError extends Error {
  override name = 'GateError';
  readonly code = 'gate_failed';
  readonly card: EvaluationCard;

  constructor(message: string, card: EvaluationCard) {
    super(message);
    this.card = card;
  }
}
