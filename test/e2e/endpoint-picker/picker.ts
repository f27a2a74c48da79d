// The endpoint picker's own code, built once by Go into the cache of the end-to-end tests.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { skipUnlessLong } from '../../shared.ts';

const SOURCES = import.meta.dirname;
const CACHE = process.env['LORIKEET_E2E_HOME'] ?? path.join(os.tmpdir(), 'lorikeet-e2e');

/** A model server as the picker's plugins see it. */
export interface SeenEndpoint {
  readonly Metrics: {
    readonly ActiveModels: Readonly<Record<string, number>>;
    readonly WaitingModels: Readonly<Record<string, number>>;
    readonly MaxActiveModels: number;
    readonly RunningRequestsSize: number;
    readonly WaitingQueueSize: number;
    readonly KVCacheUsagePercent: number;
    readonly CacheBlockSize: number;
    readonly CacheNumBlocks: number;
  };
  readonly Affinity: Readonly<Record<string, number>>;
}

/** The program's file, or why it can't be had. LORIKEET_E2E_LONG builds it the first time, which takes minutes. */
export function findPicker(): { file: string } | { reason: string } {
  const digest = createHash('sha256');
  for (const name of ['main.go', 'proxy.go', 'go.mod', 'go.sum']) {
    digest.update(readFileSync(path.join(SOURCES, name)));
  }
  const name = `endpoint-picker-${digest.digest('hex').slice(0, 12)}`;
  const file = path.join(CACHE, 'bin', name);
  if (existsSync(file)) return { file };
  if (skipUnlessLong) return { reason: `the endpoint picker is not built: ${skipUnlessLong}` };
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    const building = `${file}.tmp-${process.pid}`;
    execFileSync('go', ['build', '-o', building, '.'], { cwd: SOURCES, stdio: 'pipe' });
    renameSync(building, file);
    return { file };
  } catch (error) {
    const { stderr, message } = error as { stderr?: Buffer; message: string };
    return { reason: `the endpoint picker can't be built: ${stderr?.toString() || message}` };
  }
}

/** Its answer as JSON; throws what it says of a faulty input. */
export function runPicker<T>(file: string, args: readonly string[], input: string): T {
  const { status, stdout, stderr } = spawnSync(file, args, { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}
