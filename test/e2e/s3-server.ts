// A real S3 server for tests: versitygw over a temporary folder, in its own process, built once by Go and kept in the
// cache of the end-to-end tests.
//
//   const skip = await prepareS3Server();              // builds it (once, 100 s on 2 cores) or says why it can't be had
//   test('…', { skip }, async (t) => {
//     const server = await startS3Server(t);           // empty, with one bucket; ends with the test
//     const store = createS3Store({ bucket: server.bucket, prefix: '' }, { …, connection: server });
//   });
//
// Its credentials are checked: others get 403. `environmentOf(endpoint)` is what a child process needs to find it, or a
// proxy before it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { temporaryFolder } from '../fixtures.ts';
import { freePort } from '../free-port.ts';
import { home } from './served.ts';

const MODULE = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0';
const BINARY = path.join(home, 'bin', 'versitygw-1.8.0');
const CREDENTIALS = { accessKeyId: 'lorikeet-test', secretAccessKey: 'not-a-secret-of-anybody' };
const REGION = 'us-east-1';
const START_TIMEOUT_MS = 20_000;

export interface S3Server {
  /** `http://127.0.0.1:port` */
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly bucket: string;
  /** The folder with its objects as files, which tests inspect and damage. */
  readonly folder: string;
  /** SIGKILL, as a machine that is lost; what it confirmed is kept. */
  kill(): Promise<void>;
  /** After `kill`: on the same port, with the same objects. */
  restart(): Promise<void>;
  /** Somebody who may do nothing until a policy of the bucket says so. */
  addUser(name: string): Promise<S3Server['credentials']>;
}

/** For `skip`: false once the server's program is there, else why it can't be had. */
export async function prepareS3Server(): Promise<string | false> {
  if (existsSync(BINARY)) return false;
  mkdirSync(path.dirname(BINARY), { recursive: true });
  // Beside it, so that a rename puts it in place; test files that start at once wait for one build.
  const target = mkdtempSync(`${BINARY}.tmp-`);
  try {
    const build = ['go', 'install', '-p', '2', '-ldflags=-s -w', MODULE];
    const args = ['-n', '19', 'flock', `${BINARY}.lock`, ...build];
    const fault = await run('nice', existsSync('/usr/bin/flock') ? args : build.slice(), target);
    if (existsSync(BINARY)) return false;
    if (fault) return `versitygw can't be built: ${fault}`;
    renameSync(path.join(target, 'versitygw'), BINARY);
    return false;
  } finally {
    rmSync(target, { recursive: true });
  }
}

export async function startS3Server(t: { after(fn: () => unknown): void }): Promise<S3Server> {
  const folder = temporaryFolder(t);
  const bucket = 'adapters';
  mkdirSync(path.join(folder, bucket));
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  let child = await start(folder, port);
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  t.after(kill);
  return {
    endpoint,
    region: REGION,
    credentials: CREDENTIALS,
    bucket,
    folder,
    kill,
    async restart() {
      child = await start(folder, port);
    },
    async addUser(name) {
      const { accessKeyId, secretAccessKey } = CREDENTIALS;
      const own = { accessKeyId: name, secretAccessKey: `secret-of-${name}` };
      const root = ['--access', accessKeyId, '--secret', secretAccessKey];
      const user = ['--access', name, '--secret', own.secretAccessKey, '--role', 'user'];
      const args = ['admin', ...root, '--region', REGION, '--endpoint-url', endpoint];
      const fault = await run(BINARY, [...args, 'create-user', ...user], folder);
      if (fault) throw new Error(`versitygw makes no user: ${fault}`);
      return own;
    },
  };
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

async function start(folder: string, port: number): Promise<ChildProcess> {
  const users = path.join(folder, '.users');
  mkdirSync(users, { recursive: true });
  const listen = ['--port', `127.0.0.1:${port}`, '--quiet', '--keep-alive'];
  const args = [...listen, '--iam-dir', users, 'posix', folder];
  const env = {
    ROOT_ACCESS_KEY: CREDENTIALS.accessKeyId,
    ROOT_SECRET_KEY: CREDENTIALS.secretAccessKey,
  };
  const child = spawn(BINARY, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let output = '';
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`versitygw ended at once: ${output}`);
    if (Date.now() > deadlineMs) throw new Error(`versitygw does not answer: ${output}`);
    await delay(20);
  }
  return child;
}

async function answers(port: number): Promise<boolean> {
  try {
    await (await fetch(`http://127.0.0.1:${port}/`)).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

/** Runs a command that builds into a folder. Returns the end of its output if it fails. */
async function run(
  command: string,
  args: readonly string[],
  target: string,
): Promise<string | undefined> {
  const child = spawn(command, args, {
    env: { ...process.env, GOBIN: target },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  try {
    const [code] = await once(child, 'close');
    return code === 0 ? undefined : output.trim().split('\n').at(-1) || `exit code ${code}`;
  } catch (error) {
    return String(error);
  }
}
