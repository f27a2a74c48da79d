// What a scenario of load gets and gives: a row of the table in scenarios.ts.
import { atMost, type Figure, toFigure } from '../bench/report.ts';
import type { Scope, Stage } from './stage.ts';
import type { Source } from './traffic.ts';

export interface Context extends Scope {
  /** The base's folder. */
  readonly model: string;
  /** An empty folder. */
  readonly scratch: string;
  /** Of each measurement. */
  readonly seconds: number;
  /** A line for somebody who waits. */
  tell(line: string): void;
  /** A server that several scenarios use, and what it can do. Started and measured once. */
  shared(): Promise<Shared>;
}

export interface Shared {
  readonly stage: Stage;
  readonly capacity: Capacity;
}

/** What a server does at most: all slots busy all the time, with the same generator as under load. */
export interface Capacity {
  readonly tokensPerS: number;
  /** Of a request, on average. */
  readonly tokensPerRequest: number;
  /** Of a run of all slots. */
  readonly stepMs: number;
}

export interface Report {
  readonly figures: readonly Figure[];
  /** A picture. */
  readonly svg?: string;
}

export interface Scenario {
  readonly title: string;
  run(context: Context): Promise<Report>;
}

/** What tenants ask: texts and answers that fit into the toy's context of 128 tokens. */
export const USUAL: Pick<Source, 'words' | 'tokens'> = {
  words: { from: 4, to: 16 },
  tokens: { from: 16, to: 48 },
};

export const NONE = atMost(0);

/** A figure that must be 0. */
export const none = (name: string, found: readonly unknown[]): Figure =>
  toFigure(name, 'count', found.length, { target: NONE });
