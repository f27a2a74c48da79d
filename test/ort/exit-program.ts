// A program for a test: it leaves a session, a binding and tensors alive, and ends in the way its first argument says. The
// second one says whose threads the session uses.
import { createSession } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { loopModel } from './models.ts';

const sharesThreads = process.argv[3] === 'shared threads';
const session = await createSession(loopModel(), { intraOpThreads: 4, sharesThreads });
const binding = session.createBinding();
const trips = hostTensor('int64', [], BigInt64Array.of(10n));
binding.bindInput('trips', trips);
binding.bindInput('X', hostTensor('float32', [1]));
binding.bindOutput('Y', hostTensor('float32', [1]));
await binding.run();
process.stdout.write('ran\n');
if (process.argv[2] === 'by process.exit during a run') {
  trips.data[0] = 2n ** 40n;
  void binding.run(); // hours of work
  setImmediate(() => process.exit(0));
}
