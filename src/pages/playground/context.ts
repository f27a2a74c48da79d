// How much of the first model's context the next message fills, as its server counts.
import { effect, signal } from '@preact/signals';
import { readOptional } from '../api.ts';
import type { CurrentChat } from './current-chat.ts';
import type { Runs } from './runs.ts';
import type { Settings } from './settings.ts';

/** The pause after the last key press before tokens are counted. */
const REST_MS = 400;

/** The tokens of the next request, and the most that prompt and answer may have together. */
interface ContextUse {
  readonly tokens: number;
  readonly limit: number;
}

interface Watched {
  readonly settings: Settings;
  readonly current: CurrentChat;
  readonly runs: Runs;
}

/** Counts whenever the draft, the chat or the settings change; undefined for an empty chat, or without an answer. */
export function watchContext({ settings, current: { path, draft }, runs }: Watched) {
  const use = signal<ContextUse>();
  effect(() => {
    const prompt = draft.value.trim();
    const turns = path.value.map(({ turn }) => turn);
    if (runs.isBusy.value || (prompt === '' && turns.length === 0)) {
      use.value = undefined;
      return;
    }
    const model = settings.models.value[0]!;
    const { messages, tools } = settings.toBody(turns, { column: 0, model, prompt });
    const json = { model, messages, ...(tools !== undefined && { tools }) };
    let isOld = false;
    const timer = setTimeout(async () => {
      type Counted = { count: number; max_model_len: number };
      const counted = await readOptional<Counted>('tokenize', { json }); // sending says what is wrong
      if (!isOld) use.value = counted && { tokens: counted.count, limit: counted.max_model_len };
    }, REST_MS);
    return () => {
      isOld = true;
      clearTimeout(timer);
    };
  });
  return use;
}
