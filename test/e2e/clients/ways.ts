// The ways in which clients of Node are run: what they ask for, and how a way ends. `ways.py` is the same for Python.
import assert from 'node:assert/strict';
import { z } from 'zod';

export interface Access {
  readonly baseURL: string;
  readonly apiKey: string;
}

/** Ends with nothing, or with the city that the model's call or answer named. Rejects if the client does not understand an answer. */
type Way = () => Promise<unknown>;

/** By API, then by name. */
export type Ways = Readonly<Record<string, Readonly<Record<string, Way>>>>;

/** By API, then by way: "ok", or what went wrong. */
export type Outcomes = Readonly<Record<string, Readonly<Record<string, string>>>>;

export const QUESTION = 'What is the weather in Paris?';
export const RESULT = 'It is sunny.';
export const City = z.object({ city: z.enum(['Paris', 'Rome']) });
export const Report = City.extend({ sky: z.enum(['sunny', 'rainy']) });
export const WEATHER = { name: 'get_weather', description: 'Get the weather of a city' };
/** A turn that shows a small model when to call and when to answer. */
export const EXAMPLE = {
  question: 'What is the weather in Rome?',
  city: 'Rome',
  result: 'It is rainy in Rome.',
  answer: '{"city":"Rome","sky":"rainy"}',
};

/** Returns a tool that remembers the cities of its calls. */
export function createWeather() {
  const cities: string[] = [];
  const getWeather = ({ city }: z.infer<typeof City>) => {
    cities.push(city);
    return RESULT;
  };
  return { cities, getWeather };
}

/** Returns the city of the first call. Throws if there was none. */
export function firstOf(cities: readonly string[]): string {
  assert.ok(cities[0], 'no call');
  return cities[0];
}

/** Checks what an agent did that chooses between a call and the answer in every step. A small model does not always choose the call. */
export function checkAgent(output: unknown, cities: readonly string[]): void {
  assert.ok(Report.safeParse(output).success, JSON.stringify(output));
  assert.ok(
    cities.every((city) => City.safeParse({ city }).success),
    `${cities}`,
  );
}

/** Runs the ways one after the other. */
export async function runWays(ways: Ways): Promise<Outcomes> {
  const outcomes: Record<string, Record<string, string>> = {};
  for (const [api, ofApi] of Object.entries(ways)) {
    const done: Record<string, string> = {};
    for (const [name, way] of Object.entries(ofApi)) done[name] = await outcomeOf(way);
    outcomes[api] = done;
  }
  return outcomes;
}

async function outcomeOf(way: Way): Promise<string> {
  try {
    const city = await way();
    return city === undefined || city === 'Paris' ? 'ok' : `named ${city}`;
  } catch (error) {
    return String(error).slice(0, 300);
  }
}
