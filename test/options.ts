// The options of a benchmark or another program of the tests.
import { parseArgs } from 'node:util';

type Default = string | number | boolean | undefined;
type Values<T> = {
  readonly [Name in keyof T]: T[Name] extends undefined ? string | undefined : T[Name];
};

/**
 * Reads the command line: numbers, texts and flags, as their defaults are. A default of undefined stands for a text that may
 * be absent.
 */
export function readOptions<T extends Readonly<Record<string, Default>>>(defaults: T): Values<T> {
  const entries = Object.entries(defaults);
  const { values } = parseArgs({
    options: Object.fromEntries(
      entries.map(([name, value]) => [
        name,
        { type: typeof value === 'boolean' ? 'boolean' : 'string' } as const,
      ]),
    ),
  });
  return Object.fromEntries(
    entries.map(([name, value]) => {
      const given = values[name];
      return [name, typeof value === 'number' ? toNumber(name, given ?? value) : (given ?? value)];
    }),
  ) as Values<T>;
}

function toNumber(name: string, given: string | boolean | number): number {
  const value = Number(given);
  if (Number.isNaN(value)) throw new Error(`--${name}: ${given} is not a number`);
  return value;
}
