// Says why a sequence has no KV slot yet, from what the server knows about all sequences. Pure.
import type { Payer } from '../scheduler/fair-queue.ts';
import { hasLessThanItsShare } from '../scheduler/slot-allocator.ts';

/**
 * Why a sequence waits. `no_slot`: all slots are taken; `tenant_share`: its tenant has its share of them; `next_step`: one is
 * free, and a next step gives it to the sequence, or to one whose adapter is in use.
 */
export type WaitReason = 'paused' | 'no_slot' | 'tenant_share' | 'next_step';

/**
 * The phase of a sequence. `loading`: its adapter or grammar is being loaded while steps run. `joining`: it owns a slot but
 * has no token yet. `prefilled`: it has a token, but no step has decoded it yet.
 */
export type SequencePhase = 'loading' | 'waiting' | 'joining' | 'prefilled' | 'running';

/** Whether a sequence in this phase has a KV slot. */
export function hasSlot(phase: SequencePhase): boolean {
  return phase !== 'loading' && phase !== 'waiting';
}

/** A sequence that has not ended. */
interface Live extends Payer {
  readonly phase: SequencePhase;
}

/** Returns why a sequence of this tenant waits, if one does. Idle sequences do not count: they give their slots back. */
export function waitReason(tenant: string, live: readonly Live[], slots: number): WaitReason {
  const all = live.filter(({ isIdle }) => !isIdle);
  const started = all.filter(({ phase }) => hasSlot(phase));
  const { weight = 1 } = all.find((one) => one.tenant === tenant) ?? {};
  const isAlone = started.every((one) => one.tenant === tenant);
  if (!isAlone && !hasLessThanItsShare({ tenant, weight }, started, slots)) return 'tenant_share';
  return started.length < slots ? 'next_step' : 'no_slot';
}
