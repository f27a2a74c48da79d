// A process that runs out of file descriptors for a moment: uses a store and a page while it has none, and again after.
// Prints what became of each as JSON. Its descriptors are limited by whoever starts it.
import { closeSync, openSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { OpenAPIHono } from '@hono/zod-openapi';
import { createFsStore } from '../adapters/store/fs.ts';
import type { HttpEnv } from '../src/http/middleware/tenant.ts';
import { addPageRoutes } from '../src/http/routes/pages.ts';

const store = createFsStore(process.argv[2]!);
const app = new OpenAPIHono<HttpEnv>();
addPageRoutes(app);

async function use(): Promise<{ put: string; page: number }> {
  const put = await store.put('tenant/key', new Uint8Array(1)).then(
    () => 'written',
    (error) => error.message,
  );
  return { put, page: (await app.request('/')).status };
}

function takeDescriptors(): number[] {
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'));
  } catch {
    return taken;
  }
}

/** Takes those, too, that the loader of modules gives back meanwhile. */
async function takeAll(): Promise<number[]> {
  const taken: number[] = [];
  for (let more = takeDescriptors(); more.length > 0; more = takeDescriptors()) {
    taken.push(...more);
    await setImmediate();
  }
  return taken;
}

const taken = await takeAll();
const starved = await use();
for (const descriptor of taken) closeSync(descriptor);
process.stdout.write(`${JSON.stringify({ starved, after: await use() })}\n`);
