// How a command is asked to end: the first SIGINT or SIGTERM aborts a signal, a second one ends the process at once.

/** By convention: 128 and the signal's number. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

let listening: AbortController | undefined;

/** The signal is aborted, with an `AbortError`, when the process is asked to end: one signal, however often it is asked for. */
export function listenForInterrupt(): AbortSignal {
  if (listening) return listening.signal;
  const controller = new AbortController();
  listening = controller;
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(EXIT_CODES[name]);
      controller.abort(new DOMException(`ended by ${name}`, 'AbortError'));
    });
  }
  return controller.signal;
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
