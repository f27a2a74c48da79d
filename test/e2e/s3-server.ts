// Real S3 servers for tests: versitygw, or MinIO, over a temporary folder, in a process of its own. Go builds each once; the
// programs are kept in the cache of the end-to-end tests.
//
//   const skip = await prepareS3Server();              // builds it (once, 100 s on 2 cores) or says why it can't be had
//   test('…', { skip }, async (t) => {
//     const server = await startS3Server(t);           // empty, with one bucket; ends with the test
//     const store = createS3Store({ bucket: server.bucket, prefix: '' }, { …, connection: server });
//   });
//
// Tests of what every server must do run for each of `S3_KINDS`. Its credentials are checked: others get 403.
// `environmentOf(endpoint)` is what a child process needs to find it, or a proxy before it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createS3Store } from '../../adapters/store/s3.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { freePort } from '../free-port.ts';
import { execute } from './execute.ts';
import { home } from './served.ts';

const CREDENTIALS = { accessKeyId: 'lorikeet-test', secretAccessKey: 'not-a-secret-of-anybody' };
const REGION = 'us-east-1';
const START_TIMEOUT_MS = 60_000;

interface Program {
  /** As `go install` takes it, without the version. */
  readonly module: string;
  readonly version: string;
  /** It is built only with LORIKEET_E2E_LONG, once. */
  readonly isLongToBuild: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** Serves this folder, each of whose folders is a bucket. */
  args(folder: string, port: number): string[];
}

const PROGRAMS = {
  versitygw: {
    module: 'github.com/versity/versitygw/cmd/versitygw',
    version: 'v1.8.0',
    isLongToBuild: false,
    env: {
      ROOT_ACCESS_KEY: CREDENTIALS.accessKeyId,
      ROOT_SECRET_KEY: CREDENTIALS.secretAccessKey,
    },
    args(folder, port) {
      const listen = ['--port', `127.0.0.1:${port}`, '--quiet', '--keep-alive'];
      return [...listen, '--iam-dir', usersOf(folder), 'posix', folder];
    },
  },
  minio: {
    module: 'github.com/minio/minio',
    // Its last commit: the repository is archived.
    version: 'v0.0.0-20260212201848-7aac2a2c5b7c',
    isLongToBuild: true,
    env: {
      MINIO_ROOT_USER: CREDENTIALS.accessKeyId,
      MINIO_ROOT_PASSWORD: CREDENTIALS.secretAccessKey,
      MINIO_BROWSER: 'off',
      MINIO_UPDATE: 'off',
    },
    args: (folder, port) => ['server', '--quiet', '--address', `127.0.0.1:${port}`, folder],
  },
} satisfies Record<string, Program>;

export type S3Kind = keyof typeof PROGRAMS;
export const S3_KINDS = Object.keys(PROGRAMS) as S3Kind[];

export interface S3Server {
  /** `http://127.0.0.1:port` */
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly bucket: string;
  /** versitygw keeps objects here as files, which tests damage. */
  readonly folder: string;
  /** SIGKILL, as a machine that is lost; what it confirmed is kept. */
  kill(): Promise<void>;
  /** After `kill`: on the same port, with the same objects. */
  restart(): Promise<void>;
}

/** For `skip`: false once the server's program is there, else why it can't be had. */
export async function prepareS3Server(kind: S3Kind = 'versitygw'): Promise<string | false> {
  const { module, version, isLongToBuild } = PROGRAMS[kind];
  const binary = binaryOf(kind);
  if (existsSync(binary)) return false;
  if (isLongToBuild && !process.env['LORIKEET_E2E_LONG']) {
    return `${kind} is not built and LORIKEET_E2E_LONG is not set`;
  }
  mkdirSync(path.dirname(binary), { recursive: true });
  // Beside it, so that a rename puts it in place; test files that spawnServer at once wait for one build.
  const target = mkdtempSync(`${binary}.tmp-`);
  try {
    const build = ['go', 'install', '-p', '2', '-ldflags=-s -w', `${module}@${version}`];
    const args = ['-n', '19', 'flock', `${binary}.lock`, ...build];
    const fault = await run('nice', existsSync('/usr/bin/flock') ? args : build.slice(), target);
    if (existsSync(binary)) return false;
    if (fault) return `${kind} can't be built: ${fault}`;
    renameSync(path.join(target, kind), binary);
    return false;
  } finally {
    rmSync(target, { recursive: true });
  }
}

export async function startS3Server(
  t: { after(fn: () => unknown): void },
  kind: S3Kind = 'versitygw',
): Promise<S3Server> {
  const folder = mkdtempSync(path.join(tmpdir(), 'lorikeet-s3-'));
  const bucket = 'adapters';
  mkdirSync(path.join(folder, bucket));
  const port = await freePort();
  let child = await spawnServer(kind, folder, port);
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  t.after(async () => {
    await kill(); // it writes until then
    rmSync(folder, { recursive: true });
  });
  return {
    endpoint: `http://127.0.0.1:${port}`,
    region: REGION,
    credentials: CREDENTIALS,
    bucket,
    folder,
    kill,
    async restart() {
      child = await spawnServer(kind, folder, port);
    },
  };
}

/** Opens the server's bucket, or a part of it, at the server itself or at a proxy before it. */
export function openStore(server: S3Server, prefix = '', endpoint = server.endpoint): ObjectStore {
  const connection = { ...server, endpoint };
  const options = { isPathStyle: true, checksums: 'when_supported', connection } as const;
  return createS3Store({ bucket: server.bucket, prefix }, options);
}

/** Adds somebody to a versitygw who may do nothing until a policy of the bucket says so. */
export async function addUser(server: S3Server, name: string): Promise<S3Server['credentials']> {
  const { accessKeyId, secretAccessKey } = CREDENTIALS;
  const own = { accessKeyId: name, secretAccessKey: `secret-of-${name}` };
  const root = ['--access', accessKeyId, '--secret', secretAccessKey];
  const user = ['--access', name, '--secret', own.secretAccessKey, '--role', 'user'];
  const args = ['admin', ...root, '--region', REGION, '--endpoint-url', server.endpoint];
  const fault = await run(binaryOf('versitygw'), [...args, 'create-user', ...user], server.folder);
  if (fault) throw new Error(`versitygw makes no user: ${fault}`);
  return own;
}

/** The AWS_* variables that lead a process to this endpoint, as the bucket's owner or as somebody else. */
export function environmentOf(endpoint: string, user = CREDENTIALS): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_ACCESS_KEY_ID: user.accessKeyId,
    AWS_SECRET_ACCESS_KEY: user.secretAccessKey,
    AWS_REGION: REGION,
    // Else a machine's own files and its metadata service are asked too.
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}

/** The variables of a lorikeet with its store in the bucket, or in a part of it. */
export function storeEnvironment(
  { bucket, ...server }: S3Server,
  { prefix = '', endpoint = server.endpoint, user = CREDENTIALS } = {},
): Record<string, string> {
  return {
    ...environmentOf(endpoint, user),
    LORIKEET_STORE: prefix ? `s3://${bucket}/${prefix}` : `s3://${bucket}`,
    LORIKEET_S3_PATH_STYLE: '1',
  };
}

async function spawnServer(kind: S3Kind, folder: string, port: number): Promise<ChildProcess> {
  const { args, env } = PROGRAMS[kind];
  mkdirSync(usersOf(folder), { recursive: true });
  const child = spawn(binaryOf(kind), args(folder, port), {
    env: { ...env, HOME: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  while (!(await isReady(port))) {
    if (child.exitCode !== null) throw new Error(`${kind} ended at once: ${output}`);
    if (Date.now() > deadlineMs) throw new Error(`${kind} does not answer: ${output}`);
    await delay(20);
  }
  return child;
}

/** A server that is starting refuses connections or answers with 503. */
async function isReady(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/`);
    await response.arrayBuffer();
    return response.status < 500;
  } catch {
    return false;
  }
}

function binaryOf(kind: S3Kind): string {
  return path.join(home, 'bin', `${kind}-${PROGRAMS[kind].version.replace(/^v/, '')}`);
}

/** Where versitygw keeps its users. */
function usersOf(folder: string): string {
  return path.join(folder, '.users');
}

/** Runs a command that builds into a folder. Returns the end of its output if it fails. */
async function run(
  command: string,
  args: readonly string[],
  target: string,
): Promise<string | undefined> {
  try {
    await execute(command, args, { env: { ...process.env, GOBIN: target } });
    return undefined;
  } catch (error) {
    return (error as { stderr?: string }).stderr?.trim().split('\n').at(-1) || String(error);
  }
}
