import type { Sampler } from '../../src/engine/sampling/sampler.ts';

/** Always draws token 0. For engines that do not ask it. */
export const ZERO_SAMPLER: Sampler = {
  sample: () => ({ id: 0 }),
  follow() {},
  ban() {},
  setBudget() {},
  prepare: () => true,
  isComplete: false,
  upcoming: [],
  takeEnding: () => undefined,
};

/** Does this much matching in each step, whatever its budget. */
export function costlySampler(places: number, onWork: () => void): Sampler {
  let current = { left: 0 };
  return {
    ...ZERO_SAMPLER,
    setBudget(budget) {
      current = budget;
    },
    prepare() {
      current.left -= places;
      onWork();
      return true;
    },
  };
}
