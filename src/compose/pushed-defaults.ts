// The fields that a pushed adapter gives to requests: from files and from its folder, checked as in requests.
import { readFolderRequestDefaults } from '../../adapters/registry/folders.ts';
import { UsageError } from '../common/errors.ts';
import { loadRegular } from '../common/regular-file.ts';
import { parseShallowJson } from '../common/shallow-json.ts';
import {
  MAX_REQUEST_DEFAULTS_BYTES,
  type RequestDefaults,
  requestDefaultsSchema,
} from '../contracts/request-defaults.ts';

/** The places of the fields. */
export interface PushedDefaultFiles {
  /** The adapter's folder. */
  readonly directory: string;
  /** JSON files that win over request_defaults.json in the folder. */
  readonly responseFormatFile?: string | undefined;
  readonly toolsFile?: string | undefined;
}

/** Returns the fields, or undefined if there are none. Throws `UsageError` or `ServeError` that names the fault. */
export async function readPushedDefaults({
  directory,
  responseFormatFile,
  toolsFile,
}: PushedDefaultFiles): Promise<RequestDefaults | undefined> {
  const stated = {
    ...(responseFormatFile && { response_format: await readJson(responseFormatFile) }),
    ...(toolsFile && { tools: await readJson(toolsFile) }),
  };
  const given = requestDefaultsSchema.safeParse(stated);
  if (!given.success) {
    const [field] = given.error.issues[0]!.path;
    const file = field === 'tools' ? toolsFile : responseFormatFile;
    throw new UsageError(`${file}: must be the value of the request field ${String(field)}`);
  }
  const defaults = { ...(await readFolderRequestDefaults(directory)), ...given.data };
  if (Object.keys(defaults).length === 0) return undefined;
  const { checkRequestDefaults } = await import('../http/request-defaults.ts');
  checkRequestDefaults(defaults);
  return defaults;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return parseShallowJson(await loadRegular(file, MAX_REQUEST_DEFAULTS_BYTES));
  } catch (error) {
    throw new UsageError(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
