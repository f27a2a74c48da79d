// The load generator: sends the requests of a plan in a process of its own, so that its work does not delay those who measure.
// Takes the plan as its first message, answers 'begun', sends outcomes in batches and ends. A message 'stop' ends it early.
import { setMaxListeners } from 'node:events';
import { Agent } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { exchange, type Line, nowMs } from './exchange.ts';
import {
  drawGapMs,
  drawRequest,
  type Outcome,
  type Plan,
  type Source,
  uniform,
} from './traffic.ts';

/** Of all sources, in equal parts. A server allows 512 of one address by default. */
const MAX_CONNECTIONS = 256;
const REPORT_MS = 500;

process.once('disconnect', () => process.exit());
process.once('message', (plan) => {
  const stop = new AbortController();
  process.once('message', () => stop.abort());
  void run(plan as Plan, stop.signal).then((last) => process.send!(last, () => process.exit()));
});

/** Resolves with the outcomes that are not reported yet. */
async function run(plan: Plan, stop: AbortSignal): Promise<Outcome[]> {
  const { url, seed, seconds, sources, graceSeconds, golden = {} } = plan;
  const over = new AbortController();
  setMaxListeners(MAX_CONNECTIONS, over.signal);
  const agent = new Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS });
  const line: Line = { url, agent, golden, over: over.signal };
  let outcomes: Outcome[] = [];
  const reports = setInterval(() => {
    if (outcomes.length > 0) process.send!(outcomes);
    outcomes = [];
  }, REPORT_MS);
  const startMs = nowMs();
  const clock: Clock = { startMs, endMs: startMs + seconds * 1000, stop };
  process.send!('begun');
  const sending = Promise.all(
    sources.map((source, i) =>
      sendAll(source, {
        clock,
        line,
        connections: { open: 0, most: Math.floor(MAX_CONNECTIONS / sources.length) },
        random: uniform(seed * 1000 + i),
        note: (one) => void outcomes.push(one),
      }),
    ),
  );
  const grace = delay((seconds + graceSeconds) * 1000).then(() => over.abort());
  await Promise.race([sending, grace]);
  await sending; // what hung was cut off
  clearInterval(reports);
  return outcomes;
}

interface Clock {
  readonly startMs: number;
  readonly endMs: number;
  readonly stop: AbortSignal;
}

interface Sending {
  readonly clock: Clock;
  readonly line: Line;
  readonly connections: { open: number; readonly most: number };
  random(): number;
  note(outcome: Outcome): void;
}

async function sendAll(source: Source, sending: Sending): Promise<void> {
  const { load } = source;
  if ('clients' in load) {
    await Promise.all(Array.from({ length: load.clients }, () => keepAsking(source, sending)));
    return;
  }
  const { clock, random } = sending;
  const exchanges: Promise<void>[] = [];
  let dueMs = clock.startMs;
  for (;;) {
    dueMs += drawGapMs(load.perSecond, random);
    if (dueMs > clock.endMs || clock.stop.aborted) break;
    const waitMs = dueMs - nowMs();
    if (waitMs > 1) await delay(waitMs, undefined, { signal: clock.stop }).catch(() => {});
    exchanges.push(send(source, dueMs, sending));
  }
  await Promise.all(exchanges);
}

async function keepAsking(source: Source, sending: Sending): Promise<void> {
  const { clock } = sending;
  while (nowMs() < clock.endMs && !clock.stop.aborted) await send(source, nowMs(), sending);
}

async function send(source: Source, dueMs: number, sending: Sending): Promise<void> {
  const { connections, line, random, note } = sending;
  const asked = drawRequest(source, random);
  if (connections.open >= connections.most) {
    const [sentMs, endMs] = [nowMs(), nowMs()];
    const { kind, model } = asked;
    note({ source: source.name, kind, model, ending: 'skipped', dueMs, sentMs, endMs, tokens: 0 });
    return;
  }
  connections.open++;
  note(await exchange(line, { source, asked, dueMs }));
  connections.open--;
}
