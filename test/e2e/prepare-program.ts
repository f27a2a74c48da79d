// Fetches and builds what the end-to-end tests need for minutes: Python's packages and an S3 server. Continuous integration runs
// it with low priority while it does other things. What can't be had is told, and the tests that need it are skipped.
import { pythonWith } from './python-venv.ts';
import { prepareS3Server } from './s3-server.ts';

const REQUIREMENTS = [
  'test/e2e/tinker.txt',
  'test/e2e/kv-events.txt',
  'examples/train-then-serve/requirements.txt',
];

for (const file of REQUIREMENTS) {
  const python = await pythonWith(file);
  if ('reason' in python) process.stdout.write(`${python.reason}\n`);
}
const reason = await prepareS3Server();
if (reason) process.stdout.write(`${reason}\n`);
