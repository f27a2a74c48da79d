// Asks again and again while somebody looks: one call at a time, none while the page is hidden.

/**
 * @param {number} everyMs after the end of a call
 * @param {() => Promise<'done' | number | void>} ask handles its own errors; `done` ends it, a number is how many ms to
 *   wait before the next call at least
 * @returns {() => void} ends it
 */
export function poll(everyMs, ask) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let isEnded = false;
  let isAsking = false;
  async function run() {
    clearTimeout(timer);
    if (isEnded || isAsking || document.hidden) return;
    isAsking = true;
    const outcome = await ask();
    isAsking = false;
    if (outcome === 'done') end();
    else if (!isEnded) timer = setTimeout(run, Math.max(everyMs, Number(outcome ?? 0)));
  }
  function end() {
    isEnded = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', run);
  }
  document.addEventListener('visibilitychange', run);
  void run();
  return end;
}
