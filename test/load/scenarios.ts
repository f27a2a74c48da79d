// The scenarios of load, one row each.
import type { Scenario } from './scenario.ts';
import { runAbuse } from './scenarios/abuse.ts';
import { runDrain } from './scenarios/drain.ts';
import { runFairness } from './scenarios/fairness.ts';
import { runCapacity, runOverload } from './scenarios/overload.ts';
import { runScale } from './scenarios/scale.ts';
import { type SoakOptions, soak } from './scenarios/soak.ts';
import { runColdHerd, runWorkingSet } from './scenarios/stored.ts';
import { failuresOf, soakReport } from './soak-report.ts';

export function soakScenario(options: SoakOptions): Scenario {
  return {
    title: `${options.minutes} minutes${options.hasChaos ? ' with chaos' : ''}`,
    async run(context) {
      const soaked = await soak(context, options);
      context.tell(`not answered: ${JSON.stringify(failuresOf(soaked))}`);
      return soakReport(soaked, options);
    },
  };
}

/** `npm run soak` runs longer ones of L7 and L8. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  L1: { title: 'capacity', run: runCapacity },
  L2: { title: 'overload', run: runOverload },
  L3: { title: 'fairness', run: runFairness },
  L4: { title: 'more adapters than room', run: runWorkingSet },
  L5: { title: 'cold adapters', run: runColdHerd },
  L6: { title: 'abuse', run: runAbuse },
  L7: soakScenario({ minutes: 2, hasChaos: false }),
  L8: soakScenario({ minutes: 4, hasChaos: true }),
  L10: { title: 'restarts under load', run: runDrain(20) },
  L11: { title: 'many keys and adapters', run: runScale },
};
