// L6: of all requests a third is invalid, a fifth is given up by its client, a tenth is read slowly. The others are served.
import { atLeast, toFigure } from '../../bench/report.ts';
import { planOf, usualSources } from '../capacity.ts';
import { generate } from '../generator.ts';
import { broken, ended, goodput, innerWindow, serverErrors } from '../results.ts';
import { type Context, none, type Report } from '../scenario.ts';
import { TENANTS } from '../stage.ts';

const MIX = { bad: 0.3, abort: 0.2, slow: 0.1 };
const GOOD = 0.4;

export async function runAbuse({ seconds, shared }: Context): Promise<Report> {
  const { stage, capacity } = await shared();
  const perSecond = capacity.tokensPerS / capacity.tokensPerRequest / TENANTS.length;
  const sources = usualSources(stage, () => ({ perSecond }), { mix: MIX });
  const outcomes = await generate(planOf(stage, sources, { seconds, seed: 61 }));
  const of = (kind: string) => outcomes.filter((outcome) => outcome.kind === kind);
  const asked = of('good').length / outcomes.length;
  return {
    figures: [
      toFigure(
        `goodput of the ${GOOD * 100} % that are good; what they ask for`,
        'tokens/s',
        goodput(outcomes, innerWindow(outcomes, seconds)),
        { other: asked * capacity.tokensPerS, target: atLeast(0.9, 'ratio') },
      ),
      none(
        'invalid requests that were not refused',
        // A full queue refuses with 503 before it reads a body.
        ended(of('bad'), 'done', 'failed', 'cut', 'reset').concat(serverErrors(of('bad'))),
      ),
      none('server errors', serverErrors(outcomes)),
      none('good ones that broke off', broken(of('good'))),
      none('slow readers that broke off', broken(of('slow'))),
    ],
  };
}
