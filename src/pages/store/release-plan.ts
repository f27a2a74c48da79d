// Plans a release: the new target of an alias, and a sentence that says who gets which version.
import type { Adapter } from '../../contracts/management-api.ts';

/** An alias of an adapter. */
export type Alias = Adapter['aliases'][number];
/** The versions that requests of an alias get. */
export type Shares = Alias['leads_to'];

/** The API allows this many versions in a split. */
const MAX_SHARES = 4;
/** Shares are rounded to this part of a percent. */
const STEP = 0.1;
/** The part of the requests that a release begins with. */
const FIRST_PERCENT = 10;

/** Names the model that requests of an alias name. */
export function modelOf(name: string, alias: string): string {
  return alias === 'latest' ? name : `${name}:${alias}`;
}

/** Names the versions and their shares. */
export function sharesText(shares: Shares): string {
  if (shares.length === 1) return `version ${shares[0]?.version}`;
  return shares.map(({ version, percent }) => `${percent}% version ${version}`).join(', ');
}

/** The share of a version in percent; 0 if it gets no requests. */
export function percentOf(shares: Shares | undefined, version: number): number {
  return shares?.find((share) => share.version === version)?.percent ?? 0;
}

/**
 * Returns the target of an alias once a version gets a share of its requests, in percent above 0. The other versions keep their
 * proportions.
 */
export function withShare(current: Shares, version: number, percent: number): Shares {
  const others = current
    .filter((share) => share.version !== version)
    .sort((a, b) => b.percent - a.percent)
    .slice(0, MAX_SHARES - 1);
  const total = others.reduce((sum, share) => sum + share.percent, 0);
  const rest = others
    .map((share) => ({
      version: share.version,
      percent: rounded(((100 - percent) * share.percent) / total, Math.floor),
    }))
    .filter((share) => share.percent > 0);
  const [largest] = rest;
  if (!largest) return [{ version, percent: 100 }];
  const lost = 100 - percent - rest.reduce((sum, share) => sum + share.percent, 0);
  largest.percent = rounded(largest.percent + lost, Math.round);
  return [...rest, { version, percent }];
}

function rounded(percent: number, round: (value: number) => number): number {
  return Number((round(Number((percent / STEP).toFixed(6))) * STEP).toFixed(1));
}

/** The body that moves an alias there. */
export function pointerTo(shares: Shares) {
  const [only] = shares;
  return shares.length === 1 && only ? { version: only.version } : { split: shares };
}

/**
 * Says what moving an alias changes for requests; empty if it changes nothing.
 * @param model the name that requests use
 * @param current undefined: the alias is new
 */
export function releaseText(model: string, current: Shares | undefined, next: Shares): string {
  if (!current) return `New name: requests for ${model} get ${sharesText(next)}.`;
  if (sharesText(current) === sharesText(next)) return '';
  const isWhole = current.length === 1 && next.length === 1;
  return isWhole
    ? `Requests for ${model} get ${sharesText(next)} instead of ${sharesText(current)}.`
    : `Requests for ${model}: now ${sharesText(current)}, then ${sharesText(next)}.`;
}

/** A button that moves an alias. */
export interface ReleaseStep {
  readonly label: string;
  /** Whether it gives the version more requests. */
  readonly isForward: boolean;
  /** Targets that the alias gets one after the other. */
  readonly moves: readonly Shares[];
}

/** Returns the steps that are possible for a version, the likeliest first. */
export function stepsOf(alias: Alias | undefined, version: number): readonly ReleaseStep[] {
  const { leads_to: current = [] } = alias ?? {};
  const previous = alias?.previous ?? [];
  const percent = percentOf(current, version);
  const step = (text: string, ...moves: readonly Shares[]) => ({
    label: `Release version ${version} ${text}`,
    isForward: percent < 100,
    moves,
  });
  // A version that already has all requests gives them back first, so that a rollback leads to those before it.
  const before = percent === 100 ? previous : current;
  const others = before.filter((one) => one.version !== version);
  const first = withShare(others, version, FIRST_PERCENT);
  const isAlone = others.length === 0;
  if (percent === 100) {
    const again = isAlone ? [] : [step(`at ${FIRST_PERCENT}%`, previous, first)];
    return [...rollbackOf(alias), ...again];
  }
  const isFirst = percent === 0 && !isAlone;
  return [
    isFirst ? step(`at ${FIRST_PERCENT}%`, first) : step('to 100%', withShare([], version, 100)),
    ...rollbackOf(alias),
  ];
}

/** Returns the rollback of an alias, which after a rollback leads forward again. */
function rollbackOf(alias: Alias | undefined): readonly ReleaseStep[] {
  if (!alias?.previous) return [];
  const { previous, is_rolled_back: isRolledBack } = alias;
  const verb = isRolledBack ? 'Undo the rollback:' : 'Roll back to';
  return [{ label: `${verb} ${sharesText(previous)}`, isForward: false, moves: [previous] }];
}

/** Returns the version whose release is under way, else the newest. `versions`: newest first. */
export function candidateOf(
  { leads_to: current, previous }: Alias,
  versions: readonly number[],
): number | undefined {
  if (current.length === 1) return versions[0];
  const added = current.filter(({ version }) => percentOf(previous ?? [], version) === 0);
  return (added.length > 0 ? added : current).at(-1)?.version;
}

/** Says which requests a version gets. */
export function stateText(model: string, alias: Alias | undefined, version: number): string {
  if (!alias) return `Not released: requests for ${model} get 404.`;
  const percent = percentOf(alias.leads_to, version);
  if (percent === 100) return `Version ${version} gets all requests for ${model}.`;
  const now = `Requests for ${model}: ${sharesText(alias.leads_to)}.`;
  return percent > 0 ? now : `${now} Version ${version} gets none.`;
}
