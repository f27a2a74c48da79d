// What the clients did: recorded by test/e2e/clients.test.ts with LORIKEET_E2E_LONG, and shown in docs/clients.md.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { CLIENTS, PINS, pinnedVersion, rowName } from './clients.ts';
import type { Outcomes } from './ways.ts';

const FILE = path.join(import.meta.dirname, 'results.json');

/** What one version of a client did. */
export interface Result {
  readonly version: string;
  readonly ways: Outcomes;
}

type Results = Readonly<Record<string, Result>>;

/** Returns the recorded results by the name of their row. */
export function readResults(): Results {
  return JSON.parse(readFileSync(FILE, 'utf8'));
}

/** Replaces the result of a row. */
export function recordResult(name: string, result: Result): void {
  const all = { ...readResults(), [name]: result };
  const known = CLIENTS.map(rowName).filter((row) => row in all);
  const sorted = Object.fromEntries(known.map((row) => [row, all[row]]));
  writeFileSync(FILE, `${JSON.stringify(sorted, null, 2)}\n`);
}

/** The names of APIs in the table. */
const APIS: Readonly<Record<string, string>> = {
  chat: '[chat](chat.md)',
  responses: '[responses](responses.md)',
  messages: '[messages](messages.md)',
};

/** Returns the table of docs/clients.md. Throws if the result of a client is of another version than the pinned one. */
export function clientTable(): string {
  const results = readResults();
  const rows = CLIENTS.flatMap((client) => {
    const pinned = pinnedVersion(client);
    const shown = `\`${client.package}\` | ${pinned} | ${PINS[client.pins].language}`;
    const result = results[rowName(client)];
    if (!result) return [`| ${shown} | | | not run yet |\n`];
    if (result.version !== pinned) {
      const command = 'LORIKEET_E2E_LONG=1 node --import tsx --test test/e2e/clients.test.ts';
      throw new Error(`no result of ${client.package} ${pinned}: run ${command}`);
    }
    return Object.entries(result.ways).map(
      ([api, ways]) =>
        `| ${shown} | ${APIS[api]} | ${Object.keys(ways).join(', ')} | ${summary(ways)} |\n`,
    );
  });
  const header =
    '| package | version | language | API | exercised | result |\n|---|---|---|---|---|---|\n';
  return header + rows.join('');
}

function summary(ways: Outcomes[string]): string {
  const all = Object.entries(ways);
  const failed = all.filter(([, outcome]) => outcome !== 'ok');
  const share = `${all.length - failed.length} of ${all.length}`;
  const reasons = failed.map(([name, reason]) => `${name}: ${reason.replace(/[|\n]/g, ' ')}`);
  return [share, ...reasons].join('. ');
}
