// What `npm run bench` measures, one row for each case, and the goals of each figure.
import { readFileSync } from 'node:fs';
import { describeProcessor } from '../../src/common/processor.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { sharedPath } from '../shared.ts';
import { type Goal, inTurn } from './comparison.ts';
import { measureEngineRate } from './engine-rate.ts';
import { type Checkout, cacheTokenBytes } from './fleet.ts';
import type { LoadResult } from './load.ts';
import { measureNll } from './measure.ts';
import { PEER_TITLES } from './peers.ts';
import { askHttp, type Turn, type Values, type Work } from './work.ts';

/** One of the figures of a case. */
interface FigureRow {
  readonly metric: string;
  readonly unit: string;
  /** Its key in the values that the case returns. */
  readonly key: string;
  readonly goals?: readonly Goal[];
}

/** A case measures each server once in each round. */
export interface Case {
  /** For `--only`. */
  readonly id: string;
  readonly figures: readonly FigureRow[];
  /** Measured with `--weights int4` instead of the default, and not on the other checkout. */
  readonly isInt4?: boolean;
  /** Whether the other checkout cannot be measured. */
  readonly isOnlyThis?: boolean;
  /** Whether its values are always the same, so one round is enough. */
  readonly isConstant?: boolean;
  /** Measures a lorikeet server. */
  ours(checkout: Checkout, turn: Turn): Promise<Values>;
  /** The same for the peers. Absent: they are not measured. */
  readonly work?: Work;
}

const atLeast = (limit: number, against: Goal['against']): Goal => ({
  against,
  bound: 'at least',
  limit,
});
const atMost = (limit: number, against: Goal['against'], plus = 0): Goal => ({
  against,
  bound: 'at most',
  limit,
  plus,
});

/** The goals of a machine with AMX, or of one without. */
const byCpu = (amx: readonly Goal[], other: readonly Goal[]): readonly Goal[] =>
  describeProcessor().features?.includes('amx') ? amx : other;
const AHEAD_OF_VLLM = [atLeast(1, 'vLLM'), atLeast(1, 'vLLM with LoRA')];

/** 212 prompt tokens. The first stream may generate 64 before the last one starts, and its last positions are around 300. */
const LONG_PROMPT_WORDS = 200;
const LONG_TOKENS = 128;

/** The cases of a base with adapters; `qv` and `all` are the names of adapters on q and v, and on all linears. */
export function adapterCases(qv: readonly string[], all: readonly string[]): Case[] {
  return [
    streams(
      1,
      byCpu(
        PEER_TITLES.map((title) => atLeast(1.5, title)),
        AHEAD_OF_VLLM,
      ),
    ),
    streams(8, byCpu([], AHEAD_OF_VLLM)),
    streams(
      32,
      byCpu(
        [atLeast(1, 'vLLM'), atLeast(1.6, 'vLLM with LoRA')],
        [atLeast(1.3, 'before'), ...AHEAD_OF_VLLM],
      ),
    ),
    prefill(
      1024,
      byCpu(
        [atLeast(0.9, 'OpenVINO'), atLeast(0.9, 'vLLM')],
        [atLeast(1.6, 'before'), ...AHEAD_OF_VLLM],
      ),
    ),
    {
      id: '300 positions',
      figures: [
        {
          ...rate('32 streams at 300 positions, once all decode', [atLeast(1.7, 'before')]),
          key: 'decodedPerS',
        },
      ],
      ...both({ streams: 32, words: LONG_PROMPT_WORDS, tokens: LONG_TOKENS }),
    },
    {
      id: '4 adapters',
      figures: [
        rate('32 streams, 4 adapters', byCpu([atLeast(5, 'vLLM with LoRA')], AHEAD_OF_VLLM)),
        firstToken('32 streams, 4 adapters: first token, p50', 'ttftP50Ms'),
        firstToken('32 streams, 4 adapters: first token, p95', 'ttftP95Ms'),
      ],
      ...both({ streams: 32, adapters: all.slice(0, 4) }),
    },
    {
      id: 'bare engine',
      figures: [rate('32 streams, without HTTP', byCpu([atLeast(1, 'OpenVINO')], []))],
      isOnlyThis: true,
      work: { streams: 32, isInProcess: true },
      ours: async (_, { model, tokens }) => ({
        tokensPerS: await measureEngineRate({ dir: model, slots: 32, maxSeq: 1280, tokens }),
      }),
    },
    adapters('q,v r=8', qv),
    adapters('all r=16', all),
    int4Stream([]),
    nll('NLL, WikiText-2', false, [atMost(3.602, 'number')]),
    nll('NLL, --weights int4', true, []),
    {
      id: 'memory',
      figures: [
        {
          metric: 'resident memory of a ready server',
          unit: 'MB',
          key: 'mb',
          goals: [atMost(1, 'before', 150)],
        },
      ],
      isConstant: true,
      ours: async ({ readyMb }) => ({ mb: readyMb }),
    },
    {
      id: 'kv',
      figures: [
        { metric: 'KV cache of a token', unit: 'B', key: 'bytes', goals: [atMost(1, 'before')] },
      ],
      isConstant: true,
      ours: async ({ folder }, { model }) => ({ bytes: cacheTokenBytes(folder, model) }),
    },
  ];
}

/** The cases of a large base without adapters. */
export function largeCases(size: '1B' | '8B'): Case[] {
  const prompts = [prefill(36), prefill(256), prefill(1024)];
  const cases =
    size === '1B'
      ? [streams(1), int4Stream([atLeast(1, 'llama-server')]), streams(8), streams(32), ...prompts]
      : [streams(1), streams(8), ...prompts];
  return cases.map((one) => ({
    ...one,
    id: `${size}, ${one.id}`,
    figures: one.figures.map((row) => ({ ...row, metric: `${size} shape, ${row.metric}` })),
  }));
}

/** No rate may fall by more than 3%. */
const rate = (metric: string, goals: readonly Goal[] = []): FigureRow => ({
  metric,
  unit: 'tok/s',
  key: 'tokensPerS',
  goals: [
    ...goals,
    ...(goals.some(({ against }) => against === 'before') ? [] : [atLeast(0.97, 'before')]),
  ],
});

const firstToken = (metric: string, key: keyof LoadResult): FigureRow => ({
  metric,
  unit: 'ms',
  key,
});

/** How each side is asked for this work. */
function both(work: Work): Pick<Case, 'ours' | 'work'> {
  return { work, ours: ({ server }, turn) => askHttp(server.url, work, turn) };
}

function streams(count: number, goals: readonly Goal[] = []): Case {
  const name = count === 1 ? '1 stream' : `${count} streams`;
  return { id: name, figures: [rate(name, goals)], ...both({ streams: count }) };
}

function int4Stream(goals: readonly Goal[]): Case {
  return {
    ...streams(1, goals),
    id: 'int4 stream',
    figures: [rate('1 stream, --weights int4', goals)],
    isInt4: true,
  };
}

/** One adapter in each of 32 rows, and the base in all of them right before or after: what adapters cost. */
function adapters(label: string, names: readonly string[]): Case {
  const metric = `32 streams, 32 distinct adapters, ${label}`;
  const base: Work = { streams: 32 };
  const work: Work = { ...base, adapters: names.slice(0, 32) };
  return {
    id: `32 adapters, ${label}`,
    figures: [
      rate(metric, AHEAD_OF_VLLM),
      { metric: `${metric}: share of the base's rate`, unit: 'x', key: 'shareOfBase' },
    ],
    work,
    async ours({ server }, turn) {
      // Another case may have left the usual prompts of the base in the prefix cache.
      const fresh = { ...turn, salt: `${turn.salt}, one each` };
      const measured = new Map<Work, Values>();
      for (const one of inTurn([base, work], turn.round)) {
        measured.set(one, await askHttp(server.url, one, fresh));
      }
      const [ofBase, values] = [measured.get(base)!, measured.get(work)!];
      return { ...values, shareOfBase: values['tokensPerS']! / ofBase['tokensPerS']! };
    },
  };
}

function prefill(length: number, goals: readonly Goal[] = []): Case {
  const metric = `prompt of ${length.toLocaleString('en-US')} tokens`;
  return { id: `prefill ${length}`, figures: [rate(metric, goals)], ...both({ length }) };
}

/** Enough for all windows. */
const NLL_CHARACTERS = 30_000;

function nll(metric: string, isInt4: boolean, goals: readonly Goal[]): Case {
  return {
    id: metric,
    figures: [{ metric, unit: 'nats', key: 'nll', goals }],
    isInt4,
    isConstant: true,
    async ours({ server }, { model }): Promise<Values> {
      const file = sharedPath('data', 'eval', 'wikitext-2-test.txt');
      const tokenizer = await loadTokenizer(model);
      if (!file || !tokenizer) return {};
      const text = readFileSync(file, 'utf8').slice(0, NLL_CHARACTERS);
      return { nll: await measureNll(server.url, tokenizer.encode(text, { specials: false })) };
    },
  };
}
