// Which figures of adapters and their tiers are reported, and the targets that they are held against.

import { quantile } from '../quantile.ts';
import { atLeast, atMost, type Figure, toFigure } from '../report.ts';
import type { Absences } from './absence.ts';
import { type FirstTokens, TIERS } from './first-token.ts';
import type { Hits } from './hits.ts';
import { type Gaps, GUESTS } from './neighbours.ts';
import { ROOM, type WorkingSet } from './working-sets.ts';

const WHERE = { slot: 'in a slot', ram: 'in memory', disk: 'on the disk', store: 'in the store' };
const FIRST_TOKEN_TARGETS = {
  slot: undefined,
  ram: atMost(1.3, 'ratio'),
  disk: atMost(2, 'ratio'),
  store: undefined,
};

/** Each place is held against a slot. */
export function firstTokenFigures(firstTokens: FirstTokens): Figure[] {
  return TIERS.map((tier) =>
    toFigure(`first token, 1.8 MB adapter ${WHERE[tier]}`, 'ms', firstTokens[tier], {
      other: tier === 'slot' ? [] : firstTokens.slot,
      target: FIRST_TOKEN_TARGETS[tier],
    }),
  );
}

export function hitFigures({ ours, lru, fetches, fromStore }: Hits): Figure[] {
  return [
    toFigure('adapters found in memory, room for 8; LRU', '%', 100 * ours, { other: 100 * lru }),
    toFigure('the same, less those of LRU', 'points', 100 * (ours - lru), { target: atLeast(-2) }),
    toFigure('reads of weights in the store; answers that say so', 'count', fetches, {
      other: fromStore,
    }),
  ];
}

const GUEST_WORDS = {
  attached: 'for the same ones',
  ram: 'for others in memory',
  store: 'for others in the store',
};
const GAP_TARGETS = { attached: undefined, ram: atMost(1.2, 'ratio'), store: atMost(1.2, 'ratio') };

/** Each kind of guest is held against those that use the residents' adapters. */
export function gapFigures(gaps: Gaps): Figure[] {
  return GUESTS.map((guest) =>
    toFigure(
      `p95 between tokens of resident adapters, beside requests ${GUEST_WORDS[guest]}`,
      'ms',
      gaps[guest],
      { other: guest === 'attached' ? [] : gaps.attached, target: GAP_TARGETS[guest] },
    ),
  );
}

export function absenceFigures({ foreign, unknown }: Absences): Figure[] {
  return (['first', 'again'] as const).flatMap((when) => {
    const name = `404 of a foreign name, ${when === 'first' ? 'the first time' : 'again'}`;
    return [
      toFigure(`${name}; of an unknown one`, 'ms', foreign[when], { other: unknown[when] }),
      toFigure(`${name}: the difference`, 'ms', Math.abs(foreign[when] - unknown[when]), {
        target: atMost(1),
      }),
    ];
  });
}

export function tableOfWorkingSets(sets: readonly WorkingSet[]): string {
  const tierOf = (count: number) =>
    Object.entries(ROOM).find(([, room]) => count <= room)?.[0] ?? 'store';
  const first = quantile(sets[0]?.tokensPerS ?? [], 0.5);
  const rows = sets.map(({ adapters, tokensPerS }) => {
    const median = quantile(tokensPerS, 0.5);
    const cells = [adapters, tierOf(adapters), median.toFixed(0), (median / first).toFixed(2)];
    return `| ${cells.join(' | ')} |`;
  });
  const head = "| adapters asked for | all fit in | tokens per second | of one adapter's |";
  return [head, '|---|---|---|---|', ...rows].join('\n');
}
