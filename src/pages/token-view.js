// The tokens of an answer, colored by probability. A selected token shows its alternatives.
import { el, fill } from './dom.js';
import { percent } from './format.js';
import { moveByArrows } from './widgets.js';

/** @typedef {import('./chat.js').TokenLogprob} TokenLogprob */

/**
 * Creates a row of tokens. One of them is in the tab order; arrow keys move between them.
 * @param {readonly TokenLogprob[]} tokens
 */
export function createTokenView(tokens) {
  const detail = el('div.alternatives', { 'aria-live': 'polite' });
  const buttons = tokens.map((token, i) =>
    el(
      'button',
      {
        className: `token ${levelOf(token)}`,
        tabIndex: i === 0 ? 0 : -1,
        onclick: () => select(i),
        onfocus: () => select(i),
      },
      visible(token.token),
    ),
  );
  const row = el('div.tokens', { role: 'group', 'aria-label': 'Tokens' }, ...buttons);
  moveByArrows(row, buttons, (index) => buttons[index]?.focus());

  /** @param {number} index */
  function select(index) {
    for (const [i, button] of buttons.entries()) {
      button.tabIndex = i === index ? 0 : -1;
      button.setAttribute('aria-pressed', String(i === index));
    }
    const token = tokens[index];
    if (token) fill(detail, ...alternativesOf(token));
  }

  fill(detail, el('p.help', 'Select a token to see its alternatives.'));
  return el('div.token-view', row, detail);
}

/** @param {TokenLogprob} token */
function alternativesOf({ token, logprob, top_logprobs: top }) {
  const isListed = top.some((one) => one.token === token);
  const rows = [...(isListed ? [] : [{ token, logprob }]), ...top];
  return rows.map((one) =>
    shareRow(visible(one.token), Math.exp(one.logprob), one.token === token),
  );
}

/** Creates a line with a probability. @param {string} name @param {number} share @param {boolean} isChosen */
export function shareRow(name, share, isChosen) {
  return el(
    'p',
    { className: isChosen ? 'chosen' : '' },
    el('code', name),
    el('meter', { max: 1, value: share, 'aria-hidden': 'true' }),
    el('span', percent(share)),
  );
}

/** @param {TokenLogprob} token */
function levelOf({ logprob }) {
  const share = Math.exp(logprob);
  if (share >= 0.9) return 'sure';
  return share >= 0.5 ? 'likely' : 'unsure';
}

/** Shows blanks as signs, alone also a space: a button needs a name. @param {string} token */
function visible(token) {
  const shown = token.replaceAll('\n', '↵').replaceAll('\t', '⇥') || '∅';
  return /^[\p{Z}\p{C}]+$/u.test(shown) ? shown.replace(/./gu, '␣') : shown;
}
