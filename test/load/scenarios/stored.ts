// L4 and L5: adapters in an S3 server that is 50 ms away: more than there is room for, and ones that nobody has asked for.
import { timePost } from '../../api.ts';
import { readDecoder } from '../../bench/base.ts';
import { atMost, type Figure, toFigure } from '../../bench/report.ts';
import { gapFigures, hitFigures } from '../../bench/tiers/figures.ts';
import { measureHits } from '../../bench/tiers/hits.ts';
import { measureNeighbours } from '../../bench/tiers/neighbours.ts';
import { openShelf, RANKS, type Shelf, type StoredAdapter } from '../../bench/tiers/shelf.ts';
import { prepareS3Server } from '../../e2e/s3-server.ts';
import { quantileOf } from '../results.ts';
import { type Context, NONE, type Report } from '../scenario.ts';

const LATENCY_MS = 50;
const ADAPTERS = 200;
const RESIDENT = 8;
const REQUESTS = 800;
const ROUNDS = 3;
/** A stream that fits the toy's context, again and again for long enough that many requests come beside it. */
const STREAMS = { tokens: 48, lastsMs: 5000 };
const RANK = 16;

const CLIENTS = 100;
const DISTINCT = 50;
/** As in adapters/tiers/fetch-queue.ts. */
const POOL = 4;

async function open({ model, scratch, after }: Context): Promise<Shelf> {
  const fault = await prepareS3Server();
  if (fault) throw new Error(fault);
  const config = readDecoder(model);
  return openShelf({ scratch, model, config, latencyMs: LATENCY_MS, cleanup: after });
}

const named = (prefix: string, count: number, rankOf = (_: number) => RANK) =>
  Array.from({ length: count }, (_, i) => ({ name: `${prefix}-${i}`, rank: rankOf(i) }));

/** L4: requests by Zipf's law for 200 adapters, with room for 8. */
export async function runWorkingSet(context: Context): Promise<Report> {
  const shelf = await open(context);
  const adapters = await shelf.publish(named('a', ADAPTERS, (i) => RANKS[i % RANKS.length]!));
  const hits = await measureHits(shelf, adapters, { requests: REQUESTS, resident: RESIDENT });
  shelf.emptyDisk();
  const { length } = RANKS;
  const gaps = await measureNeighbours(shelf, {
    rounds: ROUNDS,
    residents: adapters.slice(0, length),
    inMemory: adapters.slice(length, 2 * length),
    cold: adapters.slice(2 * length),
    ...STREAMS,
  });
  return { figures: [...hitFigures(hits), ...gapFigures(gaps)] };
}

/** L5: a hundred clients at once for one cold adapter; then fifty cold adapters at once. */
export async function runColdHerd(context: Context): Promise<Report> {
  const shelf = await open(context);
  const [one, ...others] = await shelf.publish(named('cold', 1 + DISTINCT));
  const server = await shelf.serve({ slots: 16, 'max-waiting': 256 });
  try {
    const time = ({ name }: StoredAdapter) =>
      timePost(`${server.url}/v1/completions`, {
        ...{ model: name, prompt: 'river', max_tokens: 4, ignore_eos: true },
      });
    const herd = await Promise.all(Array.from({ length: CLIENTS }, () => time(one!)));
    const fetches = shelf.fetches();
    const each = await Promise.all(others.map(time));
    const fetchMs = quantileOf(
      each.slice(0, POOL).map(({ ms }) => ms),
      0.5,
    );
    const limitMs = Math.ceil(DISTINCT / POOL) * fetchMs + 500;
    return {
      figures: [
        count('fetches for 100 clients of one cold adapter', fetches, 1),
        failures('of them not answered', herd),
        count('fetches for 50 cold adapters', shelf.fetches() - fetches, DISTINCT),
        failures('of them not answered', each),
        toFigure(
          '50 cold adapters at once: whole answers, p99',
          'ms',
          quantileOf(
            each.map(({ ms }) => ms),
            0.99,
          ),
          { target: atMost(Math.round(limitMs)) },
        ),
      ],
    };
  } finally {
    await server.stop();
  }
}

const count = (name: string, ours: number, limit: number): Figure =>
  toFigure(name, 'count', ours, { target: atMost(limit) });

const failures = (name: string, answers: readonly { status: number }[]): Figure =>
  toFigure(name, 'count', answers.filter(({ status }) => status !== 200).length, { target: NONE });
