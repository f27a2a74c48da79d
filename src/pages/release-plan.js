// Plans a release: the new target of an alias, and a sentence that says who gets which version. Pure: touches no element.

/** @typedef {import('../contracts/management-api.ts').Adapter} Adapter */
/** @typedef {Adapter['aliases'][number]['leads_to']} Shares */

/** The API allows this many versions in a split. */
const MAX_SHARES = 4;
/** Shares are rounded to this part of a percent. */
const STEP = 0.1;

/** Names the model that requests of an alias name. @param {string} name @param {string} alias */
export function modelOf(name, alias) {
  return alias === 'latest' ? name : `${name}:${alias}`;
}

/** @param {Shares} shares */
export function sharesText(shares) {
  if (shares.length === 1) return `version ${shares[0]?.version}`;
  return shares.map(({ version, percent }) => `${percent}% version ${version}`).join(', ');
}

/**
 * Returns the target of an alias once a version gets a share of its requests. The other versions keep their proportions.
 * @param {Shares} current
 * @param {number} version
 * @param {number} percent the version's share, above 0
 * @returns {Shares}
 */
export function withShare(current, version, percent) {
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

/** @param {number} percent @param {(value: number) => number} round */
function rounded(percent, round) {
  return Number((round(Number((percent / STEP).toFixed(6))) * STEP).toFixed(1));
}

/** The body that moves an alias there. @param {Shares} shares */
export function pointerTo(shares) {
  const [only] = shares;
  return shares.length === 1 && only ? { version: only.version } : { split: shares };
}

/**
 * Says what moving an alias changes for requests; empty if it changes nothing.
 * @param {string} model the name that requests use
 * @param {Shares | undefined} current undefined: the alias is new
 * @param {Shares} next
 */
export function releaseText(model, current, next) {
  if (!current) return `New name: requests for ${model} get ${sharesText(next)}.`;
  if (sharesText(current) === sharesText(next)) return '';
  const isWhole = current.length === 1 && next.length === 1;
  return isWhole
    ? `Requests for ${model} get ${sharesText(next)} instead of ${sharesText(current)}.`
    : `Requests for ${model}: now ${sharesText(current)}, then ${sharesText(next)}.`;
}
