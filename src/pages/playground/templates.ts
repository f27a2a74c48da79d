// Prompts with variables such as {{name}}, rows of values for them, and files in a prompt.

import { size } from '../format.ts';
import { isObject, parseJson } from '../json.ts';

/** The values of a row by column. */
export type Row = Readonly<Record<string, string>>;

/** No model's context has room for more. */
const MAX_ATTACHED_BYTES = 1024 * 1024;

const VARIABLE = /\{\{\s*([^{}]+?)\s*\}\}/g;

/** Returns the names of a template's variables, each once. */
export function variablesOf(template: string): string[] {
  return [...new Set([...template.matchAll(VARIABLE)].map(([, name]) => name!))];
}

/** Puts values in place of variables. Those without a value stay. */
export function filled(template: string, values: Row): string {
  return template.replace(VARIABLE, (whole, name: string) =>
    Object.hasOwn(values, name) ? values[name]! : whole,
  );
}

/** Reads the lines of a JSONL file. Values that are no texts become JSON. Throws with the line's number. */
export function jsonlRows(text: string): Row[] {
  const lines = text.split(/\r?\n/).map((line, i) => ({ line, number: i + 1 }));
  return lines
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, number }) => {
      const value = parseJson(line);
      if (!isObject(value)) throw new Error(`Line ${number} is not a JSON object.`);
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, textOf(one)]));
    });
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Makes rows of a table's cells, whose first row names the columns. */
export function tableRows([columns = [], ...rows]: readonly (readonly string[])[]): Row[] {
  return rows.map((cells) => Object.fromEntries(columns.map((name, i) => [name, cells[i] ?? ''])));
}

/** Writes rows as JSONL. */
export function toJsonl(rows: readonly Row[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** A prompt in parts: what was typed, and the files in it. */
interface PromptPart {
  /** Undefined for what was typed. */
  readonly name?: string;
  readonly text: string;
}

/** Returns the text of a file. Throws an error for the user if it is none. */
export async function readText(file: File): Promise<string> {
  if (file.size > MAX_ATTACHED_BYTES)
    throw new Error(`${file.name} is too large: ${size(file.size)} of at most 1 MiB.`);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
    if (!text.includes('\0')) return text;
  } catch {} // it is not UTF-8
  throw new Error(`${file.name} is not a text file. Attach text in UTF-8.`);
}

/** Adds a file to a prompt. */
export function withFile(prompt: string, name: string, text: string): string {
  const before = prompt === '' || prompt.endsWith('\n') ? prompt : `${prompt}\n`;
  return `${before}<file name="${name.replaceAll('"', "'")}">\n${text.replace(/\n$/, '')}\n</file>\n`;
}

/** Splits a prompt at its files. */
export function partsOf(prompt: string): PromptPart[] {
  const pieces = prompt.split(/<file name="([^"\n]*)">\n([\s\S]*?)\n<\/file>\n?/);
  return pieces.flatMap((piece, i): PromptPart[] => {
    if (i % 3 === 1) return [{ name: piece, text: pieces[i + 1]! }];
    return i % 3 === 0 && piece.trim() !== '' ? [{ text: piece.trim() }] : [];
  });
}
