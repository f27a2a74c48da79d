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

/** Code → fields over those of a good request, and the one at fault. */
export type Faults = Readonly<
  Record<string, readonly [fields: Record<string, unknown>, param: string][]>
>;

/** The cases of a route's faulty fields, and of fields that it accepts. */
export function casesOf(
  path: string,
  faults: Faults,
  accepted: readonly Record<string, unknown>[],
): Case[] {
  const nameOf = (what: string, fields: Record<string, unknown>) =>
    `${path.split('/').at(-1)} ${what} ${JSON.stringify(fields).slice(0, 60)}`;
  const bad = Object.entries(faults).flatMap(([code, rows]) =>
    rows.map(([fields, param]): Case => {
      return { name: nameOf(`${code}:`, fields), path, with: fields, expect: [400, code, param] };
    }),
  );
  const fine = accepted.map((fields): Case => {
    return { name: nameOf('accept', fields), path, with: fields, expect: [200] };
  });
  return [...bad, ...fine];
}
