// Cases of the Berkeley Function Calling Leaderboard (Apache-2.0), from the package of its authors: tools, a question and the calls
// that answer it.
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { fetchWheel, type Wheel } from '../../src/import/wheel.ts';
import { home } from './served.ts';

export const WHEEL: Wheel = {
  requirement: 'bfcl-eval==2026.3.23',
  sha256: '3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a',
};
const CATEGORIES = ['simple_python', 'multiple', 'parallel', 'parallel_multiple', 'live_simple'];
/** Their names of types, as the leaderboard translates them for OpenAI's API. */
const TYPES: Readonly<Record<string, string>> = {
  dict: 'object',
  float: 'number',
  tuple: 'array',
  any: 'string',
};

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Schema = { [keyword: string]: Json };

interface Tool {
  readonly name: string;
  readonly description: string;
  readonly parameters: Schema;
}

export interface Case {
  readonly id: string;
  readonly messages: readonly { readonly role: 'user' | 'system'; readonly content: string }[];
  readonly tools: readonly Tool[];
  /** Calls that are right. Optional arguments are left out if they may be. */
  readonly calls: readonly { readonly name: string; readonly arguments: Json }[];
}

/** Returns all cases by category, or why they can't be had (no pip, no registry). */
export async function fetchCases(): Promise<{ cases: Case[][] } | { reason: string }> {
  try {
    const folder = await keepWheel(WHEEL);
    return { cases: CATEGORIES.map((category) => readCategory(folder, category)) };
  } catch (error) {
    return { reason: `${WHEEL.requirement} can't be had: ${error}` };
  }
}

/** Returns the folder of a wheel's files, which is kept between runs. */
export async function keepWheel(wheel: Wheel): Promise<string> {
  const folder = path.join(home, wheel.requirement);
  if (!existsSync(folder)) {
    await mkdir(home, { recursive: true });
    const building = await mkdtemp(`${folder}.tmp-`);
    await rename(await fetchWheel(wheel, building), folder);
    await rm(building, { recursive: true });
  }
  return folder;
}

function readCategory(folder: string, category: string): Case[] {
  const lines = (...names: string[]) => {
    const file = path.join(folder, 'bfcl_eval/data', ...names, `BFCL_v4_${category}.json`);
    return readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  };
  const answers = new Map(lines('possible_answer').map((row) => [row.id, row.ground_truth]));
  return lines().map(({ id, question, function: functions }) => {
    const tools: Tool[] = functions.map(({ name, description, parameters }: Tool) => ({
      name: toName(name),
      description,
      parameters: toSchema(parameters),
    }));
    const calls = (answers.get(id) as Record<string, Options>[]).map((call) => {
      const [name, options] = Object.entries(call)[0]!;
      const { parameters } = tools.find((tool) => tool.name === toName(name))!;
      return { name: toName(name), arguments: choose(options, parameters) };
    });
    return { id, messages: question[0], tools, calls };
  });
}

/** OpenAI's API allows no dots. */
function toName(name: string): string {
  return name.replaceAll('.', '_');
}

/** Also leaves out `optional`, which is no keyword, and defaults. */
function toSchema(schema: Schema): Schema {
  const { optional, default: _, ...kept } = schema;
  const type = kept['type'] as string;
  const result: Schema = { ...kept, type: TYPES[type] ?? type };
  const { properties, items } = kept as { properties?: Record<string, Schema>; items?: Schema };
  if (properties) {
    const entries = Object.entries(properties).map(([name, each]) => [name, toSchema(each)]);
    result['properties'] = Object.fromEntries(entries);
  }
  if (items) result['items'] = toSchema(items);
  return result;
}

/** The possible values of each argument. An empty text means that it may be left out. */
type Options = Record<string, Json[]>;

/** Returns the first possible value of each argument, in the order of the schema. */
function choose(options: Options, { properties }: Schema): Json {
  const entries = Object.entries(properties as Record<string, Schema>).flatMap(([name, schema]) => {
    const values = options[name];
    if (values === undefined || values.includes('')) return [];
    return [[name, chooseInside(values[0]!, schema)] as const];
  });
  return Object.fromEntries(entries);
}

function chooseInside(value: Json, schema: Schema): Json {
  if (Array.isArray(value)) {
    return value.map((item) => chooseInside(item, schema['items'] as Schema));
  }
  const isObject = typeof value === 'object' && value !== null && schema?.['properties'];
  return isObject ? choose(value as Options, schema) : value;
}
