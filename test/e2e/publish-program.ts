// A process that publishes one adapter and kills itself, with SIGKILL, before or after the n-th call of its store.
// Arguments: the folder, the publication's id, n, `before` or `after`. Prints how many calls there were.
import { createRepository } from '../../adapters/repository/repository.ts';
import { openStore } from '../../adapters/store/open-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { loadConfig } from '../../src/settings/config.ts';

const [directory = '', publicationId = '', n = '0', moment = 'before'] = process.argv.slice(2);
let calls = 0;

async function around<T>(work: () => Promise<T>): Promise<T> {
  calls++;
  const isLast = calls === Number(n);
  if (isLast && moment === 'before') process.kill(process.pid, 'SIGKILL');
  const result = await work();
  if (isLast) process.kill(process.pid, 'SIGKILL');
  return result;
}

function killing(store: ObjectStore): ObjectStore {
  return {
    label: store.label,
    get: (key, call) => around(() => store.get(key, call)),
    head: (key, call) => around(() => store.head(key, call)),
    put: (key, source, options) => around(() => store.put(key, source, options)),
    delete: (key, call) => around(() => store.delete(key, call)),
    async *list(prefix, options) {
      await around(async () => {});
      yield* store.list(prefix, options);
    },
  };
}

const repository = createRepository(killing(await openStore(loadConfig())));
const to = { tenant: 'local', name: 'zen' };
await repository.publish(to, { directory }, { publicationId, aliases: ['stable'] });
process.stdout.write(`${calls}\n`);
