// Which figures are reported, and the targets that they are held against.
import type { LoadResult } from './measure.ts';
import { type Figure, type Target, toFigure } from './report.ts';

export interface ColdStart {
  readyMs: number;
  firstTokenMs: number;
}

export interface Measured {
  results: ReadonlyMap<string, readonly LoadResult[]>;
  prefill: { ours: readonly number[]; llama: readonly number[] };
  rss: { ours: number; llama: number | undefined };
  coldStarts: readonly ColdStart[];
  /** Tokens per second of the bare engine: 32 rows, prompts included. */
  engineRate: number;
}

export function figuresOf({ results, prefill, rss, coldStarts, engineRate }: Measured): Figure[] {
  const rates = (id: string) => (results.get(id) ?? []).map((result) => result.tokensPerS);
  const ttft = (id: string) => (results.get(id) ?? []).map((result) => result.ttftP50Ms);
  const ttft95 = (id: string) => (results.get(id) ?? []).map((result) => result.ttftP95Ms);
  const atLeast = (limit: number): Target => ({ kind: 'ratio', bound: 'at least', limit });
  const against = (id: string, target?: Target) => ({
    ours: rates(`ours ${id}`),
    other: rates(`llama ${id}`),
    ...(target && { target }),
  });
  const ownBase = (id: string, limit?: number) =>
    toFigure(`${id} distinct adapters, 32 streams, against our base`, 'tok/s', {
      ours: rates(`ours ${id}`),
      other: rates('ours base 32'),
      ...(limit !== undefined && { target: atLeast(limit) }),
    });
  return [
    toFigure('1 stream', 'tok/s', against('base 1', atLeast(1.2))),
    toFigure('8 streams', 'tok/s', against('base 8')),
    toFigure('32 streams', 'tok/s', against('base 32', atLeast(3))),
    toFigure('32 streams, 4 adapters', 'tok/s', against('four adapters', atLeast(4))),
    toFigure('32 streams, 4 adapters: first token, p50', 'ms', {
      ours: ttft('ours four adapters'),
      other: ttft('llama four adapters'),
      target: { kind: 'ratio', bound: 'at most', limit: 0.3 },
    }),
    toFigure('32 streams, 4 adapters: first token, p95', 'ms', {
      ours: ttft95('ours four adapters'),
      other: ttft95('llama four adapters'),
    }),
    toFigure('prefill, 1,024 tokens', 'tok/s', {
      ours: prefill.ours,
      other: prefill.llama,
      target: atLeast(2.5),
    }),
    ownBase('qv-r8 8'),
    ownBase('qv-r8 32', 0.85),
    ownBase('all-r16 8'),
    ownBase('all-r16 32', 0.55),
    toFigure('32 streams over HTTP, against the bare engine on the same work', 'tok/s', {
      ours: rates('ours base 32'),
      other: [engineRate],
      target: atLeast(0.85),
    }),
    toFigure('cold start to ready', 'ms', {
      ours: coldStarts.map((start) => start.readyMs),
      target: { kind: 'value', bound: 'at most', limit: 1500 },
    }),
    toFigure('cold start to first token', 'ms', {
      ours: coldStarts.map((start) => start.firstTokenMs),
    }),
    toFigure('resident memory after the load', 'MB', {
      ours: [rss.ours],
      other: rss.llama === undefined ? [] : [rss.llama],
    }),
  ];
}
