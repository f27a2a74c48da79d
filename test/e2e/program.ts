// Runs the command as a user does: a child process, its output, its exit code. Each test has a data folder of its own.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { temporaryFolder } from '../fixtures.ts';

const COMMAND = path.resolve('bin/lorikeet.mjs');

export interface Outcome {
  code: number | null;
  out: string;
  error: string;
}

/** Runs one command to its end. */
export async function runLorikeet(
  args: readonly string[],
  home: string,
  environment: Environment = {},
  launcher: Launcher = [],
): Promise<Outcome> {
  const { child, output } = spawnLorikeet(args, home, environment, launcher);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...output };
}

/** Runs one command, which must succeed. Returns its output. */
export async function succeed(
  args: readonly string[],
  home: string,
  environment?: Environment,
): Promise<string> {
  const { code, out, error } = await runLorikeet(args, home, environment);
  assert.equal(code, 0, `${args.join(' ')}: ${error}`);
  return out;
}

/** Creates a key for a tenant with the command. */
export async function createKey(
  tenant: string,
  home: string,
  ...args: readonly string[]
): Promise<{ id: string; key: string }> {
  const create = ['keys', 'create', '--tenant', tenant, '--json', ...args];
  return JSON.parse(await succeed(create, home));
}

export interface Serving {
  readonly url: string;
  readonly child: ChildProcess;
  readonly output: { out: string; error: string };
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
}

/** Starts `lorikeet serve` on a free port. Resolves when it prints its URL. */
export async function startServing(
  args: readonly string[],
  home: string,
  environment: Environment = {},
  launcher: Launcher = [],
): Promise<Serving> {
  const command = ['serve', '--port', '0', ...args];
  const { child, output } = spawnLorikeet(command, home, environment, launcher);
  const closed = once(child, 'close') as Promise<[number | null]>;
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout!.on('data', () => {
      const found = / is served at (\S+)/.exec(output.out);
      if (found) resolve(found[1]!);
    });
    closed.then(() => reject(new Error(`ended before it was ready: ${output.error}`)), reject);
  });
  return {
    url,
    child,
    output,
    async stop() {
      child.kill('SIGTERM');
      return (await closed)[0];
    },
  };
}

/** Starts `lorikeet serve`, which is stopped at the end of a test. By default its data folder is new. */
export async function serveFor(
  t: { after(end: () => unknown): void },
  args: readonly string[],
  home = temporaryFolder(t),
  environment?: Environment,
): Promise<Serving> {
  const serving = await startServing(args, home, environment);
  t.after(() => serving.stop());
  return serving;
}

type Environment = Readonly<Record<string, string>>;
/** A command that runs the one after it, such as `prlimit --nofile=256`. It must replace itself by it (exec). */
type Launcher = readonly string[];

export function spawnLorikeet(
  args: readonly string[],
  home: string,
  environment: Environment = {},
  launcher: Launcher = [],
) {
  // Drops all of the caller's settings, including those of tests such as LORIKEET_PYTHON.
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('LORIKEET_'));
  // Tests run beside other tests, which leave the idle class nothing, and need the core on which idle threads would spin.
  const beside = { LORIKEET_TRAIN_PRIORITY: 'nice', LORIKEET_THREADS: '1' };
  const own = { LORIKEET_HOME: home, HF_HUB_OFFLINE: '1', ...beside, ...environment };
  const env = { ...Object.fromEntries(inherited), ...own };
  const [program, ...rest] = [...launcher, process.execPath, COMMAND, ...args];
  const child = spawn(program!, rest, {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { child, output: outputOf(child) };
}

/** What a process has written until now. */
export function outputOf(child: ChildProcess): { out: string; error: string } {
  const output = { out: '', error: '' };
  child.stdout?.on('data', (chunk) => {
    output.out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    output.error += chunk;
  });
  return output;
}

/** Resolves with the URL that a server prints once it is ready. */
export async function whenServed(child: ChildProcess): Promise<string> {
  let text = '';
  for await (const chunk of child.stdout!) {
    text += chunk;
    const found = / is served at (\S+)/.exec(text);
    if (found) return found[1]!;
  }
  throw new Error(`ended before it was ready: ${text}`);
}
