// Timeouts that a pause of the process does not use up: after a SIGSTOP or a suspended machine, an ordinary timer fires
// before the loop has read what came meanwhile.

const TICKS = 20;

/**
 * Calls `action` after `ms` milliseconds in which this process's event loop ran. A pause counts as a twentieth of the
 * time at most. Returns a function that cancels it.
 */
export function setLoopTimeout(action: () => void, ms: number): () => void {
  let ticks = 0;
  const tick = () => {
    if (ticks++ < TICKS) timer = setTimeout(tick, ms / TICKS);
    else action();
  };
  let timer: NodeJS.Timeout;
  tick();
  return () => clearTimeout(timer);
}
