// What an attacker sends, a row for each attack. Rates are bounded: the question is what one bad request costs others,
// not how many requests a machine takes.
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface Target {
  readonly url: string;
  /** The attacker's own, of another tenant than the streams that are measured. */
  readonly key: string;
}

/** Counts answers, by status or by how else an exchange ended. */
export type Note = (outcome: string) => void;

export interface Attack {
  readonly name: string;
  /** What the machine must have; without it the row is skipped, visibly. */
  readonly needs?: 'a small disk';
  /** How many send at once. */
  readonly workers: number;
  /** One bad exchange; resolves with how it ended. */
  strike(target: Target, turn: number): Promise<string>;
}

/** Adapters that the server is started with for attacks on them. */
export const WIDE_ADAPTER = 'wide-0';
export const PATTERN_ADAPTERS = 40;
export const patternAdapter = (i: number) => `patterns-${i % PATTERN_ADAPTERS}`;

/** Between two strikes of a worker. */
const PAUSE_MS = 10;
/** A silent connection is closed by the server before that. */
const SOCKET_DEADLINE_MS = 30_000;

const COMPLETIONS = '/v1/completions';
const MALFORMED: readonly string[] = [
  '{',
  '['.repeat(100_000),
  `{${Array.from({ length: 50_000 }, (_, i) => `"${i.toString(36)}":0`).join(',')}}`,
  `{"model":"base","prompt":[${'-1,'.repeat(200_000)}-1]}`,
  `{"model":"base","prompt":"${'\\ud83d'.repeat(50_000)}"}`,
  `{"model":"base","prompt":["${'","'.repeat(100_000)}"]}`,
  `{"model":"base","prompt":"a","logit_bias":{${Array.from({ length: 50_000 }, (_, i) => `"${i}":1`).join(',')}}}`,
];
const ONE_BYTE_CHUNKS = '1\r\nx\r\n'.repeat(200_000);

export const ATTACKS: readonly Attack[] = [
  { name: 'idle connections', workers: 1000, strike: ({ url }) => exchange(url, '') },
  {
    name: 'headers that never end',
    workers: 64,
    strike: ({ url }) => exchange(url, `POST ${COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\n`),
  },
  {
    name: 'bodies that never end',
    workers: 64,
    strike: (target) => exchange(target.url, `${head(target, ['Content-Length: 1000'])}{`),
  },
  {
    name: 'chunks of one byte',
    workers: 6,
    strike: (target) =>
      exchange(target.url, `${head(target, ['Transfer-Encoding: chunked'])}${ONE_BYTE_CHUNKS}`),
  },
  {
    name: 'malformed bodies',
    workers: 4,
    strike: (target, turn) => post(target, COMPLETIONS, MALFORMED[turn % MALFORMED.length]!),
  },
  {
    name: 'wrong keys',
    workers: 8,
    strike: (target, turn) => post({ ...target, key: `lk-${turn}` }, COMPLETIONS, '{}'),
  },
  {
    name: 'oversize compositions',
    workers: 2,
    strike(target, turn) {
      const parts = [1, 0.5, 0.25, 2].map((weight) => `${weight + turn / 1e4}*${WIDE_ADAPTER}`);
      return post(target, COMPLETIONS, completion(parts.join('+')));
    },
  },
  {
    name: 'huge patterns',
    workers: 2,
    strike: (target, turn) => post(target, COMPLETIONS, completion(patternAdapter(turn))),
  },
  {
    name: 'oversize job settings',
    workers: 2,
    strike: (target) => post(target, '/v1/fine_tuning/jobs', JSON.stringify(oversizeJob())),
  },
  {
    name: 'schemas that are slow to compile',
    workers: 2,
    strike: (target) => post(target, COMPLETIONS, constrained(slowSchema())),
  },
  {
    name: 'constraints that are slow to match',
    workers: 2,
    strike: (target, turn) => post(target, COMPLETIONS, slowToMatch(turn)),
  },
  {
    name: 'uploads on a full disk',
    needs: 'a small disk',
    workers: 2,
    strike(target) {
      const body = new FormData();
      body.set('purpose', 'fine-tune');
      body.set('file', new Blob(['x'.repeat(4 * 2 ** 20)]), 'rows.jsonl');
      return send(target, '/v1/files', { body });
    },
  },
];

/** Strikes until the signal. */
export async function attackUntil(
  signal: AbortSignal,
  attack: Attack,
  { target, note }: { target: Target; note: Note },
): Promise<void> {
  let turn = 0;
  const work = async () => {
    while (!signal.aborted) {
      const struck = attack.strike(target, turn++);
      note(await struck.catch((error) => error.cause?.code ?? error.code ?? error.name));
      await delay(PAUSE_MS, undefined, { signal }).catch(() => {});
    }
  };
  await Promise.all(Array.from({ length: attack.workers }, work));
}

function completion(model: string): string {
  return JSON.stringify({ model, prompt: 'river', max_tokens: 1 });
}

function constrained(schema: object): string {
  return JSON.stringify({ model: 'base', prompt: 'river', max_tokens: 8, json_schema: schema });
}

let slowSchemas = 0;

/** Refused as too ambiguous after a second. Each one is new: an outcome is remembered. */
function slowSchema(): object {
  const names = Array.from({ length: 200 }, (_, i) => `name_${slowSchemas}_${i}`);
  slowSchemas++;
  const value = { enum: names.slice(0, 20) };
  return {
    type: 'object',
    properties: Object.fromEntries(names.map((name) => [name, value])),
    additionalProperties: false,
  };
}

function oversizeJob(): object {
  const targets = Array.from({ length: 64 }, () => 'x'.repeat(4096));
  return { model: 'base', training_file: `file-${'0'.repeat(24)}`, lorikeet: { targets } };
}

/**
 * A regular expression whose states have a thousand places and explode in number, in 32 choices. It stands behind a literal, or
 * beside one that has more places but does not explode, which a probe looks at instead.
 */
function slowToMatch(turn: number): string {
  const others = (letters: string, count: number) =>
    Array.from({ length: count }, (_, i) => `[${letters}]*${1000 + ((i * 7 + turn) % 9000)}`);
  const slow = `(?:[QJ]*Q[QJ]{30}t0|${others('QJ', 950).join('|')})`;
  const decoy = `(?:${others('ab', 1000).join('|')})`;
  const regex = turn % 2 === 0 ? `${'x'.repeat(60)}${slow}` : `(?:Q${slow}|y${decoy})`;
  const sampling = { n: 32, max_tokens: 8, temperature: 1.5 };
  return JSON.stringify({ model: 'base', prompt: 'Q', regex, ...sampling });
}

function post(target: Target, path: string, body: string): Promise<string> {
  return send(target, path, { body, headers: { 'content-type': 'application/json' } });
}

async function send({ url, key }: Target, path: string, init: RequestInit): Promise<string> {
  const headers = { ...init.headers, authorization: `Bearer ${key}` };
  const response = await fetch(`${url}${path}`, { method: 'POST', ...init, headers });
  await response.arrayBuffer();
  return String(response.status);
}

function head({ key }: Target, headers: readonly string[]): string {
  const all = [
    `POST ${COMPLETIONS} HTTP/1.1`,
    'Host: localhost',
    'Content-Type: application/json',
    `Authorization: Bearer ${key}`,
    ...headers,
  ];
  return `${all.join('\r\n')}\r\n\r\n`;
}

/** Writes to a socket of its own and waits until the server ends it; never closes first. */
function exchange(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port), timeout: SOCKET_DEADLINE_MS });
    let outcome = 'closed';
    socket.setEncoding('latin1').on('data', (data) => {
      outcome = /^HTTP\/1\.1 (\d+)/.exec(String(data))?.[1] ?? outcome;
    });
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (outcome === 'closed') outcome = code ?? 'error';
    });
    socket.on('timeout', () => {
      outcome = 'still open';
      socket.destroy();
    });
    socket.on('close', () => resolve(outcome));
    socket.write(text);
  });
}
