// The errors that end a run, and the conversion of every failure to data: a stable code, a message for the job's owner, and the
// API's name of the field at fault.
import {
  ConfigError,
  FileError,
  isDiskFull,
  ServeError,
  UsageError,
} from '../../src/common/errors.ts';
import { reasonOfUnwritable } from '../../src/common/failure.ts';
import type { EvaluationCard } from '../../src/contracts/evaluation-card.ts';
import { apiPathOf, nameSettings, type SettingNames } from '../../src/contracts/training-fields.ts';
import { DISK_FULL_FAULT, type Fault } from '../../src/contracts/training-messages.ts';
import { fileFault } from '../../src/rows/file-fault.ts';
import { DatasetError } from '../data/example.ts';

/** A fault of a job whose message uses the user's names of settings instead of their keys. */
class NamedConfigError extends ConfigError {
  readonly param: string | null;

  constructor(error: ConfigError, names: SettingNames) {
    super(error.faults.map((fault) => nameSettings(fault, names)));
    this.param = paramOf(error);
  }
}

/** Returns the error with the settings named as the user spells them. */
export function withNames(error: unknown, names: SettingNames): unknown {
  return error instanceof ConfigError ? new NamedConfigError(error, names) : error;
}

/** Returns the failure as a plain object. */
export function toFault(error: unknown): Fault {
  if (isDiskFull(error)) return DISK_FULL_FAULT;
  if (error instanceof DatasetError) return fileFault(error.fault); // a server replaces the file's name with its id
  if (error instanceof TrainError || error instanceof GateError) {
    return { code: error.code, message: error.message, param: null };
  }
  if (error instanceof ServeError) return error.toPlain();
  if (error instanceof ConfigError || error instanceof UsageError) {
    const param = error instanceof NamedConfigError ? error.param : paramOf(error);
    return { code: 'invalid_request', message: error.message, param };
  }
  if (error instanceof FileError) {
    return { code: 'invalid_request', message: error.message, param: null };
  }
  const unwritable = reasonOfUnwritable(error);
  const message = unwritable
    ? `The run's folder cannot be written: ${unwritable.reason}. ${unwritable.cure}`
    : error instanceof Error
      ? error.message
      : String(error);
  return { code: 'training_failed', message, param: null };
}

/** Returns the API's name of the setting at fault. */
function paramOf({ message }: Error): string | null {
  const key = /^(\w+)(?:\.\w+|\[\d+\])*: /.exec(message)?.[1];
  return key === undefined ? null : apiPathOf(key);
}

/** A run cannot continue. Its checkpoints keep the training so far. */
export class TrainError extends Error {
  override name = 'TrainError';
  readonly code: 'non_finite_loss' | 'nothing_to_learn' | 'grader_fails';

  constructor(code: TrainError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** An adapter failed its gates. It stays in the run folder and is not published. */
export class GateError extends Error {
  override name = 'GateError';
  readonly code = 'gate_failed';
  readonly card: EvaluationCard;

  constructor(message: string, card: EvaluationCard) {
    super(message);
    this.card = card;
  }
}
