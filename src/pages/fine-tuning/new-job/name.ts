// The name of a new job's adapter: what the server makes of the typed one, and what it replaces.
import { computed, effect, type ReadonlySignal, signal } from '@preact/signals';
import type { Adapter } from '../../../contracts/management-api.ts';
import type { Model } from '../../../contracts/openai.ts';
import { ApiError, errorText, requestJson } from '../../api.ts';
import { NAME_RULES } from '../../tables.ts';
import type { JobDraft } from './draft.ts';

/** The pause after the last key press before the server is asked for a name. */
const TYPING_MS = 300;

/** Returns the adapter name that the server makes of a typed name; undefined if it is invalid. */
export function adapterName(typed: string): string | undefined {
  const { suffix, steps, name: pattern, reserved } = NAME_RULES;
  const pairs = steps as [RegExp, string][];
  const name = pairs.reduce((text, [from, to]) => text.replace(from, to), typed.toLowerCase());
  return suffix.test(typed) && pattern.test(name) && !reserved.includes(name) ? name : undefined;
}

/** Watches a draft's name. */
export function createNameCheck(draft: ReadonlySignal<JobDraft>) {
  const typed = computed(() => draft.value.suffix.trim());
  const name = computed(() => adapterName(typed.value));
  /** Adapter names that the server was asked about, and the model that each one replaces. */
  const replaced = signal<Readonly<Record<string, string>>>({});
  effect(() => {
    const asked = name.value;
    if (asked === undefined) return;
    const timer = setTimeout(async () => {
      replaced.value = { [asked]: await replacedText(asked) };
    }, TYPING_MS);
    return () => clearTimeout(timer);
  });
  const warning = computed(() => replaced.value[name.value ?? '']);
  return {
    note: computed(() => nameNote(typed.value)),
    /** Says what the name replaces; empty if nothing, undefined if that is not known yet. */
    warning,
    isInvalid: computed(() => typed.value !== '' && name.value === undefined),
    /** Whether a job can get the name, and the user can see what it replaces. */
    isReady: computed(() => typed.value === '' || warning.value !== undefined),
  };
}

function nameNote(typed: string): string {
  if (typed === '') return 'Optional. Without a name, the job ID is used.';
  const name = adapterName(typed);
  if (name === undefined)
    return 'Use letters and digits, without / \\ : or two dots in a row. base, default and ft are reserved.';
  return name === typed ? 'This will be the model name.' : `The adapter will be called ${name}.`;
}

/** Says which requests a successful job will change; empty if the name is not in use. */
async function replacedText(name: string): Promise<string> {
  try {
    const model = await readIfPresent<Model>(`v1/models/${encodeURIComponent(name)}`);
    if (!model) return '';
    if (model.parent === undefined)
      return `${name} is the base’s name. Requests for it will not get the adapter.`;
    const own = await readIfPresent<Adapter>(`v1/adapters/${encodeURIComponent(name)}`);
    const [newest] = own?.versions ?? [];
    if (!newest)
      return `In use: requests for ${name} now get a shared adapter. If the job succeeds, yours get the new one instead.`;
    // Checkpoints are versions, too, and are published before the result.
    return `In use: requests for ${name} now get ${model.root}. If the job succeeds, its result becomes version ${newest.version + 1} (later after checkpoints) and moves latest: they get the new adapter instead.`;
  } catch (error) {
    return `It is unknown whether ${name} is in use. ${errorText(error)}`;
  }
}

async function readIfPresent<T>(path: string): Promise<T | undefined> {
  try {
    return await requestJson<T>(path, { isQuiet: true });
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined;
    throw error;
  }
}
