// A setting of a training run: a row of the tables in `training-settings.ts` and `adapter-kind-settings.ts`.
import type { z } from 'zod';
import type { Objective } from './preference-settings.ts';

/** How the command line reads the text of a flag. */
export type FlagKind = 'text' | 'number' | 'boolean' | 'names' | 'numbers' | 'file';

/** A field of a request of the fine-tuning API. */
interface ApiField {
  /** The object of the request that contains it. Absent: the request itself. */
  readonly group?: 'hyperparameters' | 'lorikeet';
  readonly name: string;
  /** The label of its field in the form of a new job. Absent: the form has no field for it. */
  readonly label?: string;
  /** Parses its values in API requests. Absent: the job file's schema does. */
  readonly schema?: z.ZodType;
  /** Completes "must be auto or …". */
  readonly rule?: string;
  /** The number that `auto` stands for, or the figure of the job's plan. Absent: the setting's default. */
  readonly auto?: number | PlannedFigure;
  /** The value that stands for the default, or what a request without the field gets. Absent: `auto`. */
  readonly absent?: string;
  /** Absent: the setting's. */
  readonly objectives?: readonly Objective[];
}

/** The figures of a plan that `auto` can stand for. */
export type PlannedFigure = 'stepsPerEpoch' | 'validationExamples';

/** A setting; its key in the table is its key in a job file. */
export interface TrainingSetting {
  /** Accepts its values in a job file. */
  readonly schema: z.ZodType;
  /** One line for --help and the documentation. */
  readonly help: string;
  /** The default value. */
  readonly default?: unknown;
  /** Describes the default if it depends on the rest of the job. */
  readonly fallback?: string;
  readonly isRequired?: true;
  /** The heading above its flag in `--help`. Absent: the heading of the row before. */
  readonly heading?: string;
  /** Whether the short `--help` lists its flag. */
  readonly isCommon?: true;
  /** Default: follows from the schema. Records and tuples have no flag and can only be set in a job file. */
  readonly flag?: FlagKind | 'none';
  /** Absent: the API cannot set it. */
  readonly api?: ApiField;
  /** Refused without adapters or validation rows, because the setting would have no effect. */
  readonly needs?: 'adapter' | 'validation';
  /** Runs with other objectives refuse it, unless it is the default. Absent: all have it. */
  readonly objectives?: readonly Objective[];
  /** False: runs that differ in the setting may share a checkpoint. The contents of files are compared, not their paths. */
  readonly isHashed?: false;
}
