// The job that a command line asks for: its file's keys, and what flags say over them. Not checked yet.
import { ConfigError, FileError } from '../src/common/errors.ts';
import { readRegular, SMALL_FILE_BYTES } from '../src/common/regular-file.ts';
import type { JobSource } from '../src/contracts/training.ts';

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
