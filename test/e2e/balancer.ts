// HAProxy with the configuration that this project offers, its addresses replaced. Knows nothing of replicas but where
// they listen.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { temporaryFolder } from '../fixtures.ts';
import { findTool } from './infra/tools.ts';

const CONFIG = 'infra/haproxy/haproxy.cfg';
const START_TIMEOUT_MS = 60_000;

const tool = findTool('haproxy');

/** For `skip`: false where HAProxy is installed, else why it can't be. */
export function skipWithoutBalancer(): string | false {
  return 'reason' in tool ? tool.reason : false;
}

/**
 * Starts it at `port` of 127.0.0.1 before `addresses` (`host:port`); it ends with the test.
 * Resolves with its URL once it passes requests on.
 */
export async function startBalancer(
  t: { after(fn: () => unknown): void },
  port: number,
  addresses: readonly string[],
): Promise<string> {
  const [head, tail] = readFileSync(CONFIG, 'utf8')
    .split(/^ {2}server .*$/m, 1)
    .concat('');
  const servers = addresses.map((address, i) => `  server replica-${i} ${address}`).join('\n');
  const text = `${head}${servers}\n${tail}`.replace(/^ {2}bind .*$/m, `  bind 127.0.0.1:${port}`);
  const file = path.join(temporaryFolder(t), 'haproxy.cfg');
  writeFileSync(file, text);
  assert('file' in tool);
  const child = spawn(tool.file, ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  t.after(async () => {
    if (child.exitCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  const url = `http://127.0.0.1:${port}`;
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  while (!(await isReady(url))) {
    if (child.exitCode !== null) throw new Error(`haproxy ended at once: ${output}`);
    if (Date.now() > deadlineMs) throw new Error(`no replica behind haproxy: ${output}`);
    await delay(50);
  }
  return url;
}

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/readyz`);
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
