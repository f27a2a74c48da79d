// The trainer's entry point: handles one request, the first message from its parent, and exits. A pause message pauses the run;
// the request to serve is followed by tasks.
import { UsageError } from '../src/common/errors.ts';
import { describeFailure, EXIT } from '../src/common/failure.ts';
import { handleRequest } from '../src/compose/trainer.ts';
import type {
  TaskMessage,
  ToTrainer,
  TrainerMessage,
  TrainerRequest,
} from '../src/contracts/training-messages.ts';
import { enterIdleClass } from './idle-class.ts';
import { GateError, TrainError, toFault } from './run/faults.ts';

const pause = new AbortController();
const requestPause = () => pause.abort(new DOMException('asked to pause', 'AbortError'));
/** Without its parent a run would continue unseen. Another trainer can resume the run from its checkpoint. */
const abandon = () => process.exit(EXIT.failed);
/** Tasks that came before anybody listened, and the listener. */
const tasks: TaskMessage[] = [];
let onTask = (message: TaskMessage): unknown => tasks.push(message);
const listen = (listener: (message: TaskMessage) => void) => {
  onTask = listener;
  for (const message of tasks.splice(0)) listener(message);
};
/** Messages are sent in order: when this resolves, all have been sent. */
let lastSent: Promise<unknown> = Promise.resolve();

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, requestPause);
process.on('disconnect', abandon);
try {
  await handleRequest(await receiveRequest(), { send, listen, signal: pause.signal });
} catch (error) {
  process.exitCode = reportFailure(error);
}
process.off('disconnect', abandon);
await lastSent;
if (process.connected) process.disconnect();

/** Listens to both kinds of messages from the start, because a pause may directly follow the request. */
function receiveRequest(): Promise<TrainerRequest> {
  if (!process.send) throw new UsageError('The trainer is started by lorikeet train.');
  return new Promise((resolve) => {
    process.on('message', (message: ToTrainer) => {
      if (message.type === 'pause') return requestPause();
      if (message.type === 'task') return void onTask(message);
      if (message.priority === 'idle') enterIdleClass();
      resolve(message.request);
    });
  });
}

function send(message: TrainerMessage): void {
  if (!process.send) return;
  lastSent = new Promise((resolve) => process.send!(message, undefined, undefined, resolve));
}

/** Sends the failure, prints it, and returns the exit code. */
function reportFailure(error: unknown): number {
  send({ type: 'fault', ...toFault(error) });
  const isExpected = error instanceof TrainError || error instanceof GateError;
  const { text, exitCode } = isExpected
    ? { text: `lorikeet: ${error.message}\n`, exitCode: EXIT.failed }
    : describeFailure(error);
  process.stderr.write(text);
  return exitCode;
}
