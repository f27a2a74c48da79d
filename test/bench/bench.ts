// `npm run bench`: this checkout against an earlier one and against peers on this machine, interleaved, medians over the
// rounds. What is not given is not compared. A peer is installed in a folder outside the repository (LORIKEET_E2E_HOME) once,
// and skipped with a reason if that fails.
// Arguments: --model NAME|DIR  --against DIR (another checkout, built)  --peers NAME,… (openvino, vllm, mistralrs, llama-server)
//   --shape llama-1b|llama-8b (only that: random weights, no adapters; 1B is measured after the base with llama-server anyway;
//   8B in int4, with 20 GiB of memory, and 40 of disk for the first run)
//   --only TEXT,… (cases whose id begins with one of these)  --rounds N  --tokens N  --json FILE
//   --write FILE (writes the table of the peers between the file's marks)
// Environment: LLAMA_SERVER (its binary), LLAMA_MODEL (the base as GGUF), LLAMA_ARGS (more arguments)

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { readOptions } from '../options.ts';
import { scratchFolder } from '../scratch.ts';
import { ALL_R16, QV_R8, writeAdapters } from './adapters.ts';
import { findModel, readDecoder } from './base.ts';
import { adapterCases, type Case, largeCases } from './cases.ts';
import { type Figure, inTurn, type Side, toFigure, toMarkdown, toPeerTable } from './comparison.ts';
import { type Fleet, type FleetOptions, serverFlags, startFleet } from './fleet.ts';
import { measureFirstToken } from './measure.ts';
import { PEERS } from './peers.ts';
import { processorLine } from './processor.ts';
import { publish } from './publish.ts';
import { type LlamaShape, randomArtifact, writeRandomGguf } from './random-base.ts';
import { startLorikeet } from './servers.ts';
import type { Turn, Values } from './work.ts';

const SLOTS = 32;
const MAX_SEQ = 1280;
const COLD_STARTS = 5;

const options = readOptions({
  model: 'smollm2-135m-instruct-q4',
  against: undefined,
  peers: '',
  shape: undefined,
  only: '',
  rounds: 3,
  tokens: 64,
  json: undefined,
  write: undefined,
});
const { rounds, tokens } = options;
const peers = options.peers.split(',').filter(Boolean);
const unknown = peers.find((name) => PEERS.every((peer) => peer.name !== name));
if (unknown) throw new Error(`--peers: there is no ${unknown}`);

/** Of every base. */
const common = {
  slots: SLOTS,
  maxSeq: MAX_SEQ,
  peers,
  against: options.against && path.resolve(options.against),
};

/** Random weights of larger shapes. All sides of 8B fit 24 GiB only in four bits and with few slots. */
const LARGE: Readonly<Record<LlamaShape, { size: '1B' | '8B'; slots?: number; weights?: 'int4' }>> =
  { 'llama-1b': { size: '1B' }, 'llama-8b': { size: '8B', slots: 8, weights: 'int4' } };
const isLarge = (shape: string): shape is LlamaShape => shape in LARGE;
const { shape } = options;
if (shape !== undefined && !isLarge(shape))
  throw new Error(`--shape: must be one of ${Object.keys(LARGE).join(', ')}`);

const scratch = scratchFolder();
await main(shape);

async function main(shape: LlamaShape | undefined): Promise<void> {
  const skipped = new Map<string, string>();
  const base = shape ? await prepareLarge(shape) : prepareSmall();
  const figures = await measureBase(base, skipped);
  if (isChosen('cold start')) figures.push(...(await measureColdStarts(base)));
  const ofOneStream = largeCases('1B').slice(0, 2);
  const comparesLarge = !shape && peers.includes('llama-server');
  if (comparesLarge && ofOneStream.some(({ id }) => isChosen(id))) {
    figures.push(
      ...(await measureBase({ ...(await prepareLarge('llama-1b')), cases: ofOneStream }, skipped)),
    );
  }
  print(figures, skipped);
}

/** A base and what is measured with it. */
interface Base extends FleetOptions {
  readonly cases: readonly Case[];
}

function prepareSmall(): Base {
  const model = findModel(options.model);
  const decoder = readDecoder(model);
  const adapters = path.join(scratch, 'adapters');
  const qv = writeAdapters(adapters, decoder, { shape: QV_R8, count: SLOTS });
  const all = writeAdapters(adapters, decoder, { shape: ALL_R16, count: SLOTS });
  return { ...common, model, decoder, adapters, cases: adapterCases(qv, all) };
}

async function prepareLarge(shape: LlamaShape): Promise<Base> {
  const { size, ...own } = LARGE[shape];
  const tokenizerFrom = findModel(options.model);
  const model = await randomArtifact(shape, tokenizerFrom);
  const writeGguf = (file: string) => writeRandomGguf(file, shape, tokenizerFrom);
  const shared = { ...common, ...own, model, decoder: readDecoder(model), adapters: undefined };
  return { ...shared, writeGguf, cases: largeCases(size) };
}

/** @param skipped gets the titles of the peers that cannot be had, with the reasons */
async function measureBase(base: Base, skipped: Map<string, string>): Promise<Figure[]> {
  const chosen = base.cases.filter(({ id }) => isChosen(id));
  if (chosen.length === 0) return [];
  const fleet = await startFleet(base);
  for (const [title, reason] of fleet.skipped) {
    say(`skipped: ${title} (${reason})`);
    skipped.set(title, reason);
  }
  try {
    return figuresOf(chosen, await measureRounds(fleet, chosen));
  } finally {
    await fleet.stop();
  }
}

function isChosen(id: string): boolean {
  return options.only.split(',').some((part) => id.startsWith(part));
}

/** Case → side → the values of each round. */
type Measured = ReadonlyMap<Case, Map<Side, Values[]>>;

async function measureRounds(fleet: Fleet, cases: readonly Case[]): Promise<Measured> {
  const measured = new Map(cases.map((one) => [one, new Map<Side, Values[]>()]));
  const sides: Side[] = ['this', 'before', ...fleet.peers.keys()];
  const turnOf = (round: number): Turn => {
    return { round, salt: `round ${round}`, tokens, model: fleet.model };
  };
  // Servers that are ready still prepare graphs and pages of memory, and would slow down what is measured first.
  for (const side of sides) await measureSide(fleet, cases[0]!, side, turnOf(rounds));
  for (let round = 0; round < rounds; round++) {
    const turn = turnOf(round);
    for (const one of cases) {
      if (one.isConstant && round > 0) continue;
      for (const side of inTurn(sides, round)) {
        const values = await measureSide(fleet, one, side, turn);
        if (!values) continue;
        say(`${one.id}, ${side}: ${describe(values)}`);
        const samples = measured.get(one)!;
        samples.set(side, [...(samples.get(side) ?? []), values]);
      }
    }
  }
  return measured;
}

async function measureSide(
  fleet: Fleet,
  one: Case,
  side: Side,
  turn: Turn,
): Promise<Values | undefined> {
  if (side === 'this') return one.ours((one.isInt4 && fleet.int4) || fleet.this, turn);
  const isOnlyThis = one.isInt4 || one.isOnlyThis;
  if (side === 'before')
    return fleet.before && !isOnlyThis ? one.ours(fleet.before, turn) : undefined;
  try {
    return one.work && (await fleet.peers.get(side)!.ask(one.work, turn));
  } catch (error) {
    say(`${one.id}, ${side}: ${error}`);
    return undefined;
  }
}

function figuresOf(cases: readonly Case[], measured: Measured): Figure[] {
  return cases.flatMap((one) =>
    one.figures.map(({ metric, unit, key, goals = [] }) => {
      const samples = [...measured.get(one)!].map(([side, all]) => [
        side,
        all.flatMap((values) => values[key] ?? []),
      ]);
      return toFigure(metric, unit, Object.fromEntries(samples), goals);
    }),
  );
}

/** With warm caches: the first start, which may build them, is not counted. */
async function measureColdStarts(fleetOptions: FleetOptions): Promise<Figure[]> {
  const ready: Record<Side, number[]> = {};
  const first: Record<Side, number[]> = {};
  for (let i = 0; i <= COLD_STARTS; i++) {
    for (const [side, folder] of [
      ['this', '.'],
      ['before', fleetOptions.against],
    ] as const) {
      if (folder === undefined) continue;
      const server = await startLorikeet(serverFlags(fleetOptions), folder);
      try {
        const firstTokenMs = server.readyMs + (await measureFirstToken(server.url));
        if (i === 0) continue;
        ready[side] = [...(ready[side] ?? []), server.readyMs];
        first[side] = [...(first[side] ?? []), firstTokenMs];
      } finally {
        await server.stop();
      }
    }
  }
  return [
    toFigure('cold start to ready', 'ms', ready, [
      { against: 'number', bound: 'at most', limit: 1500 },
    ]),
    toFigure('cold start to first token', 'ms', first, []),
  ];
}

function describe(values: Values): string {
  return Object.entries(values)
    .map(([key, value]) => `${key} ${value.toFixed(value < 10 ? 3 : 1)}`)
    .join(', ');
}

function print(figures: readonly Figure[], skipped: ReadonlyMap<string, string>): void {
  process.stdout.write(`${processorLine()}\n\n${toMarkdown(figures)}\n`);
  if (options.json) writeFileSync(options.json, `${JSON.stringify(figures, null, 2)}\n`);
  if (peers.length > 0) publish('peers', peerReport(figures, skipped), options.write);
}

/** The rates, and all else that a peer was measured for. */
function peerReport(figures: readonly Figure[], skipped: ReadonlyMap<string, string>): string {
  const columns = PEERS.filter(({ name }) => peers.includes(name));
  const titles = columns.map(({ title }) => title);
  const isShown = ({ unit, medians }: Figure) =>
    unit === 'tok/s' || titles.some((title) => medians[title] !== undefined);
  const details = columns.map(({ title, about }) => {
    const reason = skipped.get(title);
    return `${title}: ${about}${reason ? ` (not measured: ${reason})` : ''}.`;
  });
  return [
    `${path.basename(options.model)}, medians of ${rounds} interleaved rounds of ${tokens} tokens per stream, on\n${processorLine()}.`,
    toPeerTable(figures.filter(isShown), titles),
    ...details,
  ].join('\n\n');
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
