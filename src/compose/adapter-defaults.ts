// The fields that an adapter supplies to requests: its own and the ones from files, checked like requests.
import type { NamedAdapterFiles } from '../../trainer/commands/eval.ts';
import { UsageError } from '../common/errors.ts';
import { parseShallowJson } from '../common/json-scan.ts';
import { loadRegular } from '../common/regular-file.ts';
import {
  MAX_REQUEST_DEFAULTS_BYTES,
  type RequestDefaults,
  requestDefaultsSchema,
} from '../contracts/request-defaults.ts';
import type { CheckedDefaults } from '../http/request/request-model.ts';

/** The sources of the fields. */
export interface DefaultSources {
  /** The adapter's own fields. */
  readonly own: RequestDefaults | undefined;
  /** JSON files that override them. */
  readonly responseFormatFile?: string | undefined;
  readonly toolsFile?: string | undefined;
}

/**
 * Returns the fields, both unchanged and checked, or undefined if there are none. Throws a `UsageError` or `ServeError` that
 * names the fault.
 */
export async function readAdapterDefaults({
  own,
  responseFormatFile,
  toolsFile,
}: DefaultSources): Promise<{ fields: RequestDefaults; checked: CheckedDefaults } | undefined> {
  const values = {
    ...(responseFormatFile && { response_format: await readJson(responseFormatFile) }),
    ...(toolsFile && { tools: await readJson(toolsFile) }),
  };
  const result = requestDefaultsSchema.safeParse(values);
  if (!result.success) {
    const [field] = result.error.issues[0]!.path;
    const file = field === 'tools' ? toolsFile : responseFormatFile;
    throw new UsageError(`${file}: must be the value of the request field ${String(field)}`);
  }
  const fields = { ...own, ...result.data };
  if (Object.keys(fields).length === 0) return undefined;
  const { checkRequestDefaults } = await import('../http/request/request-model.ts');
  return { fields, checked: await checkRequestDefaults(fields) };
}

/** Reads an adapter's response format and tools. */
export async function readAnswerDefaults(
  own: RequestDefaults | undefined,
  responseFormatFile: string | undefined,
): Promise<Pick<NamedAdapterFiles, 'format' | 'tools'>> {
  const defaults = await readAdapterDefaults({ own, responseFormatFile });
  return { format: defaults?.checked.constraint?.constraint, tools: defaults?.checked.tools };
}

async function readJson(file: string): Promise<unknown> {
  try {
    return parseShallowJson(await loadRegular(file, MAX_REQUEST_DEFAULTS_BYTES));
  } catch (error) {
    throw new UsageError(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
