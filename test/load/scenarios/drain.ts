// L10: a server that is stopped under load, again and again. What it accepted it answers.
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { atMost, toFigure } from '../../bench/report.ts';
import { planOf, SLOTS, usualSources } from '../capacity.ts';
import { nowMs } from '../exchange.ts';
import { startGenerator } from '../generator.ts';
import { serverErrors, silentRefusals } from '../results.ts';
import { type Context, none, type Report } from '../scenario.ts';
import { startStage, TENANTS } from '../stage.ts';
import type { Outcome } from '../traffic.ts';

/** Of running answers after SIGTERM. */
const DEADLINE_MS = 25_000;
/** From the first request to SIGTERM, and from there to the last request. */
const BEFORE_MS = 1500;
const AFTER_MS = 1000;

export const runDrain =
  (restarts: number) =>
  async (context: Context): Promise<Report> => {
    const { model, scratch, shared, tell } = context;
    const { capacity } = await shared();
    const perSecond = capacity.tokensPerS / capacity.tokensPerRequest / TENANTS.length;
    const all: Outcome[] = [];
    /** Requests that reached the server before SIGTERM, and those after it whose answer had begun. */
    const accepted: Outcome[] = [];
    const exits: { code: number | null; ms: number }[] = [];
    for (let i = 0; i < restarts; i++) {
      const home = path.join(scratch, 'home');
      const stage = await startStage(context, { model, home, slots: SLOTS });
      const sources = usualSources(stage, () => ({ perSecond }));
      const seconds = (BEFORE_MS + AFTER_MS) / 1000;
      const outcomes: Outcome[] = [];
      const plan = planOf(stage, sources, { seconds, seed: 100 + i });
      const { ended } = await startGenerator(plan, (outcome) => outcomes.push(outcome));
      await delay(BEFORE_MS);
      const stoppedMs = nowMs();
      const code = await stage.serving.stop();
      exits.push({ code, ms: nowMs() - stoppedMs });
      await ended;
      all.push(...outcomes);
      accepted.push(
        ...outcomes.filter(({ sentMs, status }) => sentMs < stoppedMs || status === 200),
      );
    }
    const slowest = Math.max(...exits.map(({ ms }) => ms));
    tell(`${all.length} requests, ${accepted.length} accepted`);
    return {
      figures: [
        toFigure('servers stopped under load; requests that they had accepted', 'count', restarts, {
          other: accepted.length,
        }),
        none(
          'accepted requests that broke off',
          accepted.filter(({ ending }) => ending !== 'done' && ending !== 'refused'),
        ),
        none('refusals without retry-after', silentRefusals(all)),
        none('server errors', serverErrors(all)),
        none(
          'exit codes other than 0',
          exits.filter(({ code }) => code !== 0),
        ),
        toFigure('longest exit', 'ms', slowest, { target: atMost(DEADLINE_MS + 1000) }),
      ],
    };
  };
