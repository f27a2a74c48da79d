// A training job as its file states it. The keys and their bounds are the table of training settings; what a job leaves to
// the model (method, learning rate, lengths, steps) is resolved in `settings.ts`.
// The job that a command line asks for: its file's keys, and what flags say over them. Not checked yet.
import { z } from 'zod';
import { NAME_PATTERN, RESERVED_NAMES } from '../../adapters/repository/manifest.ts';
import { ConfigError, FileError } from '../../src/common/errors.ts';
import { readRegular, SMALL_FILE_BYTES } from '../../src/common/regular-file.ts';
import { describeIssue } from '../../src/common/schema-errors.ts';
import type { JobSource } from '../../src/contracts/training.ts';
import { jobShape, keysOf } from '../../src/contracts/training-fields.ts';

const jobSchema = z.strictObject({
  ...jobShape(),
  name: z
    .string()
    .regex(NAME_PATTERN, 'must be 1 to 63 of A-Z a-z 0-9 . _ -')
    .refine((name) => !RESERVED_NAMES.has(name), 'means something else as a model')
    .optional(),
});

/** A checked job: each key has a value of its setting, its default, or none. */
export type TrainJob = z.infer<typeof jobSchema>;

const ADAPTER_KEYS = keysOf(({ needs }) => needs === 'adapter');
const VALIDATION_KEYS = keysOf(({ needs }) => needs === 'validation');

/** Checks the JSON of a job file. @throws ConfigError with one line per fault, each naming its key. */
export function parseJob(json: unknown): TrainJob {
  const result = jobSchema.safeParse(json, { error: describeIssue });
  const faults = (result.error?.issues ?? []).flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => `${key}: is no key of a job`)
      : [`${issue.path.join('.') || 'job'}: ${issue.message}`],
  );
  if (result.data) faults.push(...contradictions(result.data));
  if (!result.success || faults.length > 0) throw new ConfigError(faults);
  return result.data;
}

function contradictions(job: TrainJob): string[] {
  const faults: string[] = [];
  if (job.validation !== undefined && job.validationSplit > 0) {
    faults.push('validationSplit: contradicts validation, which names a file');
  }
  if (job.validation === undefined && job.validationSplit === 0) {
    for (const key of VALIDATION_KEYS) {
      if (job[key] !== undefined) faults.push(`${key}: needs validation or validationSplit`);
    }
  }
  if (job.adapters !== undefined && job.name === undefined) {
    faults.push('adapters: only an adapter with a name is published');
  }
  if (job.method === 'full') {
    for (const key of ADAPTER_KEYS) {
      if (job[key] !== undefined) faults.push(`${key}: has no meaning where method is full`);
    }
    if (job.dropout > 0) faults.push('dropout: acts on adapters only, method is full');
    if (job.gate) faults.push('gate: measures adapters, method is full');
    if (job.name !== undefined) faults.push('name: a full model is no adapter to publish');
  }
  return faults;
}

/** @throws FileError where the file is none of JSON, ConfigError where it is no object */
export function readJob({ file, overrides }: JobSource): Record<string, unknown> {
  if (file === undefined) return { ...overrides };
  const json = parse(file, readRegular(file, SMALL_FILE_BYTES).toString());
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new ConfigError([`${file}: is not a JSON object`]);
  }
  return { ...json, ...overrides };
}

function parse(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FileError(file, 'is no JSON of settings (rows are named by --data)', { cause });
  }
}
