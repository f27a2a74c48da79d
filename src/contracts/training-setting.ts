// A setting of a training run: a row of the tables in `training-settings.ts` and `adapter-kind-settings.ts`.
import type { z } from 'zod';

/** How the command line reads the text of a flag. */
export type FlagKind = 'text' | 'number' | 'boolean' | 'names' | 'numbers';

/** A field of a request of the fine-tuning API. */
interface ApiField {
  /** The object of the request that has it; absent: the request itself. */
  readonly group?: 'hyperparameters' | 'lorikeet';
  readonly name: string;
  /** Accepts its values over the API; absent: those of the job file. */
  readonly schema?: z.ZodType;
  /** Completes "must be auto or …". */
  readonly rule?: string;
}

/** A setting; its key in the table is its key in a job file. */
export interface TrainingSetting {
  /** Accepts its values in a job file. */
  readonly schema: z.ZodType;
  /** One line for --help and the documentation. */
  readonly help: string;
  /** The value in a job that does not set it. */
  readonly default?: unknown;
  /** Describes what an unset one means if that depends on the rest of the job. */
  readonly fallback?: string;
  readonly isRequired?: true;
  /** Default: by the schema. Records and tuples have no flag: they can be set in a job file only. */
  readonly flag?: FlagKind | 'none';
  /** Absent: the API cannot set it. */
  readonly api?: ApiField;
  /** Without adapters, or without validation rows, the setting would do nothing, so it is refused. */
  readonly needs?: 'adapter' | 'validation';
  /** False: a checkpoint fits runs that differ in the setting. The contents of files are compared, their paths are not. */
  readonly isHashed?: false;
}
