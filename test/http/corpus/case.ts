// A bad input and what is answered. `expect` is [status] or [status, code] or [status, code, param].
export interface Case {
  /** Number in the list of threats, and what is wrong. */
  name: string;
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  /** Sent as it is. */
  raw?: string | Uint8Array;
  /** Members over those of a good request; `undefined` leaves one out. */
  with?: Record<string, unknown>;
  expect: readonly [status: number, code?: string, param?: string | null];
}

export const CHAT = '/v1/chat/completions';
export const COMPLETIONS = '/v1/completions';
export const RESPONSES = '/v1/responses';
export const MESSAGES = '/v1/messages';
