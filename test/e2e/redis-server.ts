// A real Redis server on loopback, without persistence.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePort } from '../free-port.ts';
import { findTool } from './infra/tools.ts';

const tool = findTool('redis-server');

/** For `skip`: false if Redis is installed, else the reason. */
export const skipWithoutRedis: string | false = 'reason' in tool ? tool.reason : false;

interface RedisServer {
  readonly url: string;
  /** Starts it empty, at the same address. */
  start(): Promise<void>;
  kill(): Promise<void>;
}

/** Starts a server that ends with the test. */
export async function startRedis(t: { after(fn: () => unknown): void }): Promise<RedisServer> {
  const port = await freePort();
  let child: ChildProcess | undefined;
  const kill = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  const start = async () => {
    const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    child = spawn('file' in tool ? tool.file : '', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    for await (const line of child.stdout!) {
      if (String(line).includes('Ready to accept connections')) break;
    }
  };
  t.after(kill);
  await start();
  return { url: `redis://127.0.0.1:${port}`, start, kill };
}
