// Stands in for the trainer's program: does what the job's key `script` says, one entry after another. Its messages and
// signals are the real one's.
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const request = JSON.parse(process.argv[2]);
const { script = [] } = request.job?.overrides ?? {};
const keepAlive = setInterval(() => {}, 1000);
const abandon = () => process.exit(1);
process.on('disconnect', abandon);

const actions = {
  send: (message) => new Promise((resolve) => process.send(message, resolve)),
  /** Steps from 1, as fast as the channel takes them. */
  steps: async (count) => {
    for (let step = 1; step <= count; step++) await actions.send({ type: 'step', step });
  },
  tellRequest: () => actions.send({ type: 'note', text: JSON.stringify(request) }),
  tellNiceness: () => actions.send({ type: 'note', text: String(os.getPriority()) }),
  write: (name) => writeFileSync(path.join(request.outDir ?? request.runDir, name), ''),
  complain: (text) => process.stderr.write(text),
  untilPaused: () => new Promise((resolve) => process.once('message', resolve)),
  forever: () => new Promise(() => {}),
  die: (signal) => process.kill(process.pid, signal),
  exit: (code) => process.exit(code),
};
for (const [action, argument] of script) await actions[action](argument);
clearInterval(keepAlive);
process.off('disconnect', abandon);
process.disconnect();
