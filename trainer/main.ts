// The trainer's entry point: handles one request, the first message of its parent, and exits. Pauses if it is told to.
import { UsageError } from '../src/common/errors.ts';
import { describeFailure, EXIT } from '../src/common/failure.ts';
import { handleRequest } from '../src/compose/trainer.ts';
import type {
  PauseMessage,
  RequestMessage,
  TrainerMessage,
  TrainerRequest,
} from '../src/contracts/training-messages.ts';
import { enterIdleClass } from './idle-class.ts';
import { GateError, TrainError, toFault } from './run/train.ts';

const pause = new AbortController();
const requestPause = () => pause.abort(new DOMException('asked to pause', 'AbortError'));
/** Without its parent a run would go on unseen. Another trainer can resume the run from its checkpoint. */
const abandon = () => process.exit(EXIT.failed);
/** Messages leave in order: once this resolves, all have left. */
let lastSent: Promise<unknown> = Promise.resolve();

process.on('SIGTERM', requestPause).on('SIGINT', requestPause).on('disconnect', abandon);
try {
  await handleRequest(await receiveRequest(), { send, signal: pause.signal });
} catch (error) {
  process.exitCode = reportFailure(error);
}
process.off('disconnect', abandon);
await lastSent;
if (process.connected) process.disconnect();

/** Listens to both kinds of messages at once, because a pause may follow right behind the request. */
function receiveRequest(): Promise<TrainerRequest> {
  if (!process.send) throw new UsageError('The trainer is started by lorikeet train.');
  return new Promise((resolve) => {
    process.on('message', (message: RequestMessage | PauseMessage) => {
      if (message.type !== 'request') return requestPause();
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
