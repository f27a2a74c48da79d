// Logs much faster than anybody reads, tells its parent how many lines were dropped, and ends when its parent says so.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createLog } from '../src/common/log.ts';
import { standardError } from '../src/common/standard-error.ts';

const [how, lines] = process.argv.slice(2);
if (how === 'child') process.exit();

const log = createLog('info');
log.info({ index: 0 }, 'first');
// A child that inherits the descriptor makes it blocking for its parent, too.
await once(fork(import.meta.filename, ['child']), 'exit');
const padding = 'x'.repeat(1000);
for (let index = 1; index < Number(lines); index++) log.info({ index, padding }, 'line');
process.send!({ dropped: standardError.dropped });
await once(process, 'message');
log.error({ index: Number(lines) }, 'last');
if (how === 'crash') throw new Error('a crash on purpose');
process.exit(3);
