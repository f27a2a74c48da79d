// A process that runs out of file descriptors for a moment. It uses a store and a page while it has none, and again
// afterwards, and prints the results as JSON. The test that starts it limits its descriptors.
import { closeSync, openSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { OpenAPIHono } from '@hono/zod-openapi';
import { createFsStore } from '../adapters/store/fs.ts';
import { addPageRoutes } from '../src/http/routes/pages.ts';
import type { HttpEnv } from '../src/http/wire/middleware.ts';

const store = createFsStore(process.argv[2]!);
const app = new OpenAPIHono<HttpEnv>();
addPageRoutes(app);

const put = (): Promise<string> =>
  store.put('tenant/key', new Uint8Array(1)).then(
    () => 'written',
    (error) => error.message,
  );
const page = async () => (await app.request('/')).status;

function takeDescriptors(): number[] {
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'));
  } catch {
    return taken;
  }
}

/** Turns of the event loop without a free descriptor, after which none is expected to become free. */
const QUIET_TURNS = 1000;

/** Opens files until none can be opened for a while: the module loader still closes some of its own. */
async function takeAll(): Promise<number[]> {
  const taken: number[] = [];
  for (let quietTurns = 0; quietTurns < QUIET_TURNS; quietTurns++) {
    const more = takeDescriptors();
    if (more.length > 0) quietTurns = 0;
    taken.push(...more);
    await setImmediate();
  }
  return taken;
}

const taken: number[] = [];
const starved = { put: '', page: 0 };
// On a busy machine the module loader may free another one before the store needs it.
for (let tries = 0; tries < 10 && !starved.put.includes('EMFILE'); tries++) {
  taken.push(...(await takeAll()));
  starved.put = await put();
}
starved.page = await page();
for (const descriptor of taken) closeSync(descriptor);
process.stdout.write(
  `${JSON.stringify({ starved, after: { put: await put(), page: await page() } })}\n`,
);
