// The lines of a training file: reading some of them, removing the bad ones, and what is wrong with them. Pure.
import type { Objective } from '../../../contracts/preference-settings.ts';

/** The characters shown of a bad line. */
const MAX_SHOWN = 400;
const LINE_FAULT = /Line (\d+): ([\s\S]*?)(?=\.? Line \d+: |\.?$)/g;

/** Faults by line number, from 1. */
type LineFaults = ReadonlyMap<number, string>;

/** Splits the server's message about a file, such as `… Line 2: is not JSON. Line 5: completion: is missing.` */
export function parseLineFaults(message: string) {
  const found = [...message.matchAll(LINE_FAULT)];
  const faults = new Map(found.map(([, number, fault = '']) => [Number(number), fault] as const));
  const start = message.search(/Line \d+: /);
  const rest = start < 0 ? message : message.slice(0, start).trim();
  const [, count = faults.size] = /(\d+) bad lines/.exec(rest) ?? [];
  /** `rest`: the text before the first line. `count`: of all bad lines, of which only the first are in `faults`. */
  return { rest, faults, count: Number(count) };
}

/** Returns the fault that all reported lines share; empty if they differ or there is only one. */
export function sharedFault(faults: LineFaults): string {
  const [first = '', ...others] = new Set(faults.values());
  return faults.size > 1 && others.length === 0 ? first : '';
}

/** Returns the bad lines with their texts, shortened; empty if the file's text lacks them, and for elements of a JSON list. */
export function badLines(text: string, faults: LineFaults) {
  const lines = /^\s*\[/.test(text) ? [] : text.split(/\r?\n/);
  return [...faults].map(([number, fault]) => {
    const line = lines[number - 1] ?? '';
    return { number, fault, text: line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN)}…` : line };
  });
}

/** Removes lines of a file's text. Empty if no rows are left, or if a line is not a row: in a JSON list or a table. */
export function withoutLines(text: string, numbers: readonly number[]): string {
  const removed = new Set(numbers);
  const lines = text.split('\n').filter((_, i) => !removed.has(i + 1));
  const left = lines.join('\n');
  return left.trimStart().startsWith('{') ? left : '';
}

/** Faults of rows that another method learns from. */
const OTHER_METHODS: readonly (readonly [fault: RegExp, method: Objective])[] = [
  [/^preferred_output: is only for dpo/, 'dpo'],
  [/^preferred_output: is missing, but dpo/, 'supervised'],
  [/^messages: has no assistant message/, 'reinforcement'],
  [/^messages: (is missing|must end with the user's message)/, 'supervised'],
];

/** Returns the method that rows with a fault are for. */
export function otherMethodFor(fault: string): Objective | undefined {
  return OTHER_METHODS.find(([pattern]) => pattern.test(fault))?.[1];
}
