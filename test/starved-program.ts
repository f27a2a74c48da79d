// A process that runs out of file descriptors for a moment. It uses a store and a page while it has none, and again
// afterwards, and prints the results as JSON. The test that starts it limits its descriptors.
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

/** Opens files until it fails, including descriptors that the module loader closes in the meantime. */
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
