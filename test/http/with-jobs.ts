// A served app with files and jobs over a memory store.
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { JobsSide } from '../../src/http/deps.ts';
import { Files } from '../../src/jobs/files.ts';
import { guardStore } from '../../src/jobs/guarded-store.ts';
import { createIds } from '../../src/jobs/ids.ts';
import { createLog } from '../../src/log.ts';

export interface FilesSideOptions {
  store?: ObjectStore;
  now?: () => number;
  maxFileBytes?: number;
  maxFiles?: number;
  idleTimeoutMs?: number;
}

export function filesSide({
  store = createMemoryStore(),
  now = Date.now,
  maxFileBytes = 2 ** 20,
  maxFiles = 100,
  idleTimeoutMs = 10_000,
}: FilesSideOptions = {}): JobsSide {
  const guarded = guardStore(store, createLog('silent'));
  const files = new Files({ store: guarded, createId: createIds(now), now, maxFiles });
  return { files, uploads: { directory: temporaryUploads(), maxFileBytes, idleTimeoutMs } };
}

function temporaryUploads(): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-uploads-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
