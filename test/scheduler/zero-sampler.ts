import type { Sampler } from '../../src/engine/sampling/sampler.ts';

/** Always draws token 0. For engines that do not ask it. */
export const ZERO_SAMPLER: Sampler = {
  sample: () => ({ id: 0 }),
  follow() {},
  ban() {},
  grant() {},
  prepare: () => true,
  isComplete: false,
  upcoming: [],
  takeEnding: () => undefined,
};

/** Does this much matching in each step, whatever it was granted. */
export function costlySampler(places: number, onWork: () => void): Sampler {
  let granted = { left: 0 };
  return {
    ...ZERO_SAMPLER,
    grant(work) {
      granted = work;
    },
    prepare() {
      granted.left -= places;
      onWork();
      return true;
    },
  };
}
