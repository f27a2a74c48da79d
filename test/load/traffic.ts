// What a load generator sends and what came of it: plain data that crosses between processes, and the seeded choices. Knows
// no sockets and no clock.
import { seededRandom } from '../fixtures.ts';

/** Whole numbers, both ends included. */
interface Range {
  readonly from: number;
  readonly to: number;
}

/** `bad`: invalid input. `abort`: the client leaves after the first piece. `slow`: it reads a large answer slowly. */
type Kind = 'good' | 'bad' | 'abort' | 'slow';

/** One client of the server, usually a tenant. */
export interface Source {
  /** Outcomes are grouped by it. */
  readonly name: string;
  readonly key?: string;
  /** Open: arrivals at random, this many in a second, whatever the server does. Closed: this many requests at any time. */
  readonly load: { readonly perSecond: number } | { readonly clients: number };
  /** Each as often as the others. */
  readonly models: readonly string[];
  /** Of a prompt. */
  readonly words: Range;
  /** Generated for a request. */
  readonly tokens: Range;
  /** How many different prompts there are. Default: so many that none is asked twice. */
  readonly prompts?: number;
  /** Shares of requests that are not good ones. */
  readonly mix?: Readonly<Partial<Record<Exclude<Kind, 'good'>, number>>>;
  /** The share of good requests that are streamed. Default: all. */
  readonly streamed?: number;
}

/** The work of a generator. */
export interface Plan {
  readonly url: string;
  readonly seed: number;
  /** Requests begin in this time. */
  readonly seconds: number;
  readonly sources: readonly Source[];
  /** A request that has not ended this long after the last one began counts as hung. */
  readonly graceSeconds: number;
  /** The right texts of good answers, by `goldenKey`. Answers without an entry are not checked. */
  readonly golden?: Readonly<Record<string, string>>;
}

/** A request before it is sent. */
export interface Asked {
  readonly kind: Kind;
  readonly model: string;
  /** Equal numbers of a source are equal prompts with equal limits. */
  readonly prompt: number;
  readonly isStreamed: boolean;
}

/**
 * `refused`: an error in place of an answer. `failed`: an error within a stream. `cut`: the connection ended within an answer.
 * `reset`: it ended before one. `unreachable`: there was none. `left`: the client went away, as planned. `skipped`: the
 * generator had no free connection.
 */
export type Ending =
  | 'done'
  | 'refused'
  | 'failed'
  | 'cut'
  | 'reset'
  | 'unreachable'
  | 'left'
  | 'hung'
  | 'skipped';

/** What came of a request. Times are Unix milliseconds. */
export interface Outcome {
  readonly source: string;
  readonly kind: Kind;
  readonly model: string;
  readonly ending: Ending;
  /** When the plan wanted it to be sent, and when it was. */
  readonly dueMs: number;
  readonly sentMs: number;
  readonly firstMs?: number;
  readonly endMs: number;
  readonly status?: number;
  /** The code of the error. */
  readonly code?: string;
  readonly retryAfterS?: number;
  readonly tokens: number;
  /** Absent: there was nothing to compare with. */
  readonly isRight?: boolean;
}

/**
 * Names an answer of a plan whose sources have the same prompts. The adapter is its digest, as answers say, so that the
 * right text is known whichever name or version was asked for. Undefined: the base.
 */
export function goldenKey(digest: string | undefined, prompt: number): string {
  return `${digest ?? 'base'} ${prompt}`;
}

/** Uniform in [0, 1). */
type Random = () => number;

export function uniform(seed: number): Random {
  const random = seededRandom(seed);
  return () => (random() + 1) / 2;
}

const PROMPTS = 2 ** 31;

/** Draws the next request of a source. */
export function drawRequest(source: Source, random: Random): Asked {
  const { models, mix = {}, prompts = PROMPTS, streamed = 1 } = source;
  let at = random();
  let kind: Kind = 'good';
  for (const [name, share] of Object.entries(mix)) {
    if (at >= 0 && at < share) kind = name as Kind;
    at -= share;
  }
  return {
    kind,
    model: models[Math.floor(random() * models.length)]!,
    prompt: Math.floor(random() * prompts),
    isStreamed: kind !== 'good' || random() < streamed,
  };
}

/** The time to the next arrival in ms, by Poisson's law. */
export function drawGapMs(perSecond: number, random: Random): number {
  return (-Math.log(1 - random()) * 1000) / perSecond;
}

const WORDS =
  'river stone light morning garden bridge window market winter paper silver music'.split(' ');

/** The text of a prompt and how many tokens are generated for it. */
export function promptOf(
  { words, tokens }: Pick<Source, 'words' | 'tokens'>,
  number: number,
): { text: string; tokens: number } {
  const random = uniform(number);
  const draw = ({ from, to }: Range) => from + Math.floor(random() * (to - from + 1));
  const text = Array.from(
    { length: draw(words) },
    () => WORDS[Math.floor(random() * WORDS.length)],
  ).join(' ');
  return { text, tokens: draw(tokens) };
}
