// Generates with a scheduler and an engine, without messages and processes. The engine can be used again afterwards.

import type { GenerationRequest } from '../../src/contracts/generation.ts';
import type { SlotId } from '../../src/engine/batch.ts';
import type { TokenBan, TokenMatcher } from '../../src/engine/sampling/constraints.ts';
import { createSampler } from '../../src/engine/sampling/sampler.ts';
import type { Proposer } from '../../src/scheduler/drafter.ts';
import { Drafter } from '../../src/scheduler/drafter.ts';
import type { StepEngine } from '../../src/scheduler/options.ts';
import type { EngineEvent, SequenceId } from '../../src/scheduler/protocol.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { createSequence } from '../../src/scheduler/sequence.ts';

export interface Generation {
  request: GenerationRequest;
  /** Absent: no drafts. */
  proposer?: Proposer | undefined;
  /** Absent: any text. */
  matcher?: TokenMatcher | undefined;
  /** Absent: no word is banned. */
  ban?: TokenBan | undefined;
}

/** Runs all generations at once on the base. Returns their events in order, and the scheduler's totals. */
export async function generate(
  engine: Pick<StepEngine, 'info' | 'run' | 'moveSlot'>,
  generations: readonly Generation[],
): Promise<{ events: EngineEvent[][]; stats: ReturnType<Scheduler['stats']> }> {
  const { slotCount, maxSeqLength } = engine.info;
  const scheduler = new Scheduler({ slotCount, maxSeqLength });
  for (const [i, { request, proposer, matcher, ban }] of generations.entries()) {
    const { promptIds, sampling, stopTokenIds } = request;
    const sampler = createSampler(sampling, { promptIds, stopTokenIds });
    if (matcher) sampler.follow(matcher);
    if (ban) sampler.ban(ban);
    const drafter = proposer && new Drafter(proposer);
    const id = (i + 1) as SequenceId;
    const of = { tenant: 't', weight: 1, adapter: undefined };
    scheduler.submit(createSequence({ id, ...of, request, sampler, drafter }));
  }
  const events = generations.map((): EngineEvent[] => []);
  for (let plan = scheduler.next(); plan; plan = scheduler.next()) {
    for (const { from, to, length } of plan.moves) {
      await engine.moveSlot(from as SlotId, to as SlotId, length);
    }
    const record = (some: readonly EngineEvent[]) => {
      for (const event of some) events[event.id - 1]!.push(event);
    };
    for (const { batch } of plan.prefills) {
      record(scheduler.applyPrefill(plan, { result: await engine.run(batch) }));
    }
    const decode = plan.decode && { result: await engine.run(plan.decode) };
    record(scheduler.applyResults(plan, decode));
  }
  return { events, stats: scheduler.stats() };
}

/** The ids of the tokens among the events. */
export function tokensOf(events: readonly EngineEvent[]): number[] {
  return events.flatMap((event) => (event.type === 'token' ? [event.tokenId] : []));
}
