// A process that publishes one adapter and kills itself, with SIGKILL, before or after the n-th call of its store.
// Arguments: the folder, the publication's id, n, `before` or `after`. Prints how many calls there were.
import { createRepository } from '../../adapters/repository/repository.ts';
import { openStore } from '../../adapters/store/open-store.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { wrapStore } from '../adapters/store/wrapped-store.ts';

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

const repository = createRepository(wrapStore(await openStore(loadConfig()), around));
const to = { tenant: 'local', name: 'zen' };
await repository.publish(to, { directory }, { publicationId, aliases: ['stable'] });
process.stdout.write(`${calls}\n`);
