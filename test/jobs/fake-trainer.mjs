// Stands in for the trainer: executes the job's key `script` entry by entry, or `resumed` in a resumed run. Its messages,
// files and signals are those of the real trainer.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { writeState } from './trainer-state.mjs';

let request;
const paused = new Promise((pause) => {
  request = new Promise((resolve) => {
    process.on('message', (message) => {
      if (message.type === 'request') resolve(message.request);
      else pause();
    });
  });
});
request = await request;
const dir = request.outDir ?? request.runDir;
const jobFile = path.join(dir ?? '', 'job.json');
const job = request.job?.overrides ?? JSON.parse(readFileSync(jobFile, 'utf8'));
const script = (request.command === 'resume' ? job.resumed : job.script) ?? [];
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
  tellPid: () => actions.send({ type: 'note', text: String(process.pid) }),
  /** How the run began, and with which of its inputs. */
  tellStart: () => {
    const read = (key) => job[key] && existsSync(job[key]) && readFileSync(job[key], 'utf8');
    const told = { command: request.command, data: read('data'), threads: job.threads };
    return actions.event('start', JSON.stringify(told));
  },
  event: (code, message) => actions.send({ type: 'event', level: 'warn', code, message }),
  /** As the trainer's own: its file, its sum, and the job beside it. */
  checkpoint: async (step) => {
    writeState(dir, step);
    writeFileSync(jobFile, JSON.stringify(job));
    await actions.send({ type: 'event', level: 'info', code: 'checkpoint', message: '' });
  },
  snapshot: (step) => {
    const directory = path.join(dir, 'snapshots', `step-${step}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(path.join(directory, 'adapter_model.safetensors'), `adapter of step ${step}`);
    return actions.send({ type: 'snapshot', step, directory, metrics: {} });
  },
  trained: async () => {
    const directory = path.join(dir, 'adapter');
    const resultFile = path.join(dir, 'result.csv');
    mkdirSync(directory, { recursive: true });
    writeFileSync(path.join(directory, 'adapter_model.safetensors'), 'adapter');
    writeFileSync(resultFile, 'step,loss');
    await actions.send({ type: 'card', card: { gates: [], skipped: [] } });
    await actions.send({ type: 'trained', directory, resultFile, totalSteps: 3, trainedTokens: 9 });
  },
  paused: () => actions.send({ type: 'event', level: 'info', code: 'paused', message: 'Paused' }),
  complain: (text) => process.stderr.write(text),
  untilPaused: () => paused,
  forever: () => new Promise(() => {}),
  die: (signal) => process.kill(process.pid, signal),
  exit: (code) => process.exit(code),
};
for (const [action, ...given] of script) await actions[action](...given);
clearInterval(keepAlive);
process.off('disconnect', abandon);
process.disconnect();
