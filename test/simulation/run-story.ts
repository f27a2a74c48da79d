// Runs a story in a world of its own.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Story } from './commands.ts';
import { replaceNodeCalls } from './node-calls.ts';
import type { Bug } from './parts.ts';
import { publishedBefore } from './published.ts';
import { type Outcome, World } from './world.ts';

/** Runs a story from its beginning, with a planted bug if there is one. */
export async function runStory(story: Story, bug: Bug = {}): Promise<Outcome> {
  const root = mkdtempSync(path.join(temporaryRoot(), 'lorikeet-world-'));
  const published = await publishedBefore(root);
  replaceNodeCalls(story.seed);
  const world = new World(story, bug, { root, published });
  const onRejection = (error: unknown) => {
    world.violated('I08', `unhandled: ${(error as Error)?.stack ?? error}`);
  };
  process.on('unhandledRejection', onRejection);
  try {
    return await world.run();
  } finally {
    process.off('unhandledRejection', onRejection);
    rmSync(root, { recursive: true, force: true });
  }
}

/** In memory, if the system has such a folder. */
function temporaryRoot(): string {
  return existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir();
}
