// A chat as plain data: its answers, the messages that a model gets, its address.

import type { ChatTokenLogprob, MessageCall } from '../../contracts/openai.ts';
import type { ClassShare } from '../classes.ts';
import { type Call, isComplete, type Validity } from './structured.ts';

/** A message of a request. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string | null;
  readonly tool_calls?: readonly MessageCall[];
  readonly tool_call_id?: string;
}

/** The body of a request, without the model. */
export interface ChatBody {
  readonly messages: readonly Message[];
  readonly [parameter: string]: unknown;
}

/** One model's answer to one prompt. */
export interface Answer {
  readonly model: string;
  /** As received so far. */
  readonly text: string;
  readonly calls: readonly Call[];
  /** Whether the text should be JSON. */
  readonly isJson: boolean;
  readonly state: 'running' | 'done' | 'stopped' | 'failed';
  /** Facts such as the speed, in words. */
  readonly facts: readonly string[];
  /** The verdict on JSON and on calls, once the answer has ended. */
  readonly validity: Validity | undefined;
  /** Why it failed. */
  readonly problem: string;
  /** The field of the request that the server refused, or empty. */
  readonly param: string;
  /** One per token, if they were requested. */
  readonly logprobs: readonly ChatTokenLogprob[];
  /** A classifier's, most likely first. The text is the first one's label. */
  readonly classes: readonly ClassShare[];
}

/** A prompt and its answers, one in each column. A turn without a prompt continues after the results of calls. */
export interface Turn {
  readonly prompt: string;
  readonly answers: readonly Answer[];
}

/** Creates an answer that has not started. */
export function newAnswer(model: string): Answer {
  return {
    model,
    text: '',
    calls: [],
    isJson: false,
    state: 'running',
    facts: [],
    validity: undefined,
    problem: '',
    param: '',
    logprobs: [],
    classes: [],
  };
}

/** Whether later prompts may see this answer, which may have been cut off. A model would imitate an empty one. */
export function isUsable({ state, text, calls }: Answer): boolean {
  return state !== 'running' && (text !== '' || calls.some(isComplete));
}

/** Whether an answer has text or calls. */
export function hasContent({ text, calls }: Answer): boolean {
  return text !== '' || calls.length > 0;
}

/** The fact of an answer that reached max tokens. */
export const CUT_OFF = 'reached max tokens';

/** Whether a model can write the rest of an answer. */
export function isUnfinished({ state, text, calls, classes, facts }: Answer): boolean {
  const isCut = state === 'done' ? facts.includes(CUT_OFF) : state !== 'running';
  return isCut && text !== '' && calls.length === 0 && classes.length === 0;
}

/** Whether the user gave a result to each call of a turn, and there is one. */
export function hasResults({ answers }: Turn): boolean {
  const calls = answers.flatMap((answer) => answer.calls);
  return calls.length > 0 && calls.every(({ result }) => result);
}

/** Whether no model gave any answer to this turn. */
export function hasFailed({ answers }: Turn): boolean {
  return answers.every((answer) => !hasContent(answer) && /failed|stopped/.test(answer.state));
}

/** The place of an answer, and what precedes it. */
export interface AnswerRequest {
  readonly column: number;
  readonly model: string;
  readonly system: string;
  readonly prompt: string;
}

/**
 * Returns the messages for one column. A model sees its own earlier answers; one that joined later sees the answers of the
 * first column. Turns without a usable answer are left out.
 */
export function toMessages(
  turns: readonly Turn[],
  { column, model, system, prompt }: AnswerRequest,
): Message[] {
  const before = turns.flatMap(({ prompt: said, answers }) => {
    const sameColumn = answers[column]?.model === model ? answers[column] : undefined;
    const others = said === '' ? undefined : answers[0];
    const answer = sameColumn ?? answers.find((one) => one.model === model) ?? others;
    return answer && isUsable(answer) ? [...userMessage(said), ...sent(answer)] : [];
  });
  const instructions: Message[] = system.trim() === '' ? [] : [{ role: 'system', content: system }];
  return [...instructions, ...before, ...userMessage(prompt)];
}

function userMessage(content: string): Message[] {
  return content === '' ? [] : [{ role: 'user', content }];
}

function sent({ text, calls }: Answer): Message[] {
  const whole = calls.filter(isComplete);
  if (whole.length === 0) return [{ role: 'assistant', content: text }];
  const tool_calls = whole.map(({ id, name, arguments: given }): MessageCall => {
    return { id, type: 'function', function: { name, arguments: given } };
  });
  const results = whole.flatMap(({ id, result }): Message[] => {
    return result === undefined ? [] : [{ role: 'tool', tool_call_id: id, content: result }];
  });
  return [{ role: 'assistant', content: text || null, tool_calls }, ...results];
}

/**
 * The playground's settings in its address. Models are in the query. Text that the user typed is in the fragment, which
 * browsers do not send to a server.
 */
export interface Link {
  /** One per column. */
  readonly models: readonly string[];
  readonly system: string;
  readonly prompt: string;
  /** As typed, by the API's names. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Returns the address `?query#fragment` of a link. */
export function toAddress({ models: [model = '', ...beside], ...link }: Link): string {
  const { system, prompt, parameters } = link;
  const query = new URLSearchParams({ model });
  for (const name of beside.filter(Boolean)) query.append('beside', name);
  const texts = Object.entries({ ...parameters, system, prompt }).filter(([, value]) => value);
  const fragment = new URLSearchParams(texts).toString();
  return `?${query}${fragment && `#${fragment}`}`;
}

/**
 * Reads a link from an address `?query#fragment`. It has no models if the address names none. Parameters without one of the
 * names are ignored.
 */
export function parseAddress(address: string, names: readonly string[]): Link {
  const { searchParams, hash } = new URL(address, 'http://localhost/');
  const texts = new URLSearchParams(hash.slice(1));
  const known = names.flatMap((name) => {
    const value = texts.get(name);
    return value === null ? [] : [[name, value]];
  });
  const model = searchParams.get('model') ?? '';
  return {
    models: model === '' ? [] : [model, ...searchParams.getAll('beside').filter(Boolean)],
    system: texts.get('system') ?? '',
    prompt: texts.get('prompt') ?? '',
    parameters: Object.fromEntries(known),
  };
}
