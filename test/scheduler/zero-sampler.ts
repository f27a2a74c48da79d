import type { Sampler } from '../../src/engine/sampling/sampler.ts';

/** Always draws token 0. For engines that do not ask it. */
export const ZERO_SAMPLER: Sampler = {
  sample: () => ({ id: 0 }),
  follow() {},
  ban() {},
  isComplete: false,
  upcoming: [],
  takeEnding: () => undefined,
};
