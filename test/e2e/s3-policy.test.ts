// The bucket policies that are offered, held by a real S3 server's users: what each is for works, and what is beyond it is
// denied, by the server of objects and not by us.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import OpenAI, { toFile } from 'openai';
import { temporaryFolder } from '../fixtures.ts';
import { testUnless } from '../shared.ts';
import { runLorikeet, serveFor } from './program.ts';
import {
  addUser,
  prepareS3Server,
  type S3Server,
  startS3Server,
  storeEnvironment,
} from './s3-server.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const skip = await prepareS3Server();
const test = testUnless(skip);
const PREFIX = 'production';
const USERS = ['read-only', 'server', 'publisher', 'operator'] as const;
type User = (typeof USERS)[number];

/** The files' statements for a user each, in the one policy that a bucket has. */
function bucketPolicy(bucket: string): string {
  const Statement = USERS.flatMap((user) => {
    const text = readFileSync(`infra/s3/policy-${user}.json`, 'utf8')
      .replaceAll('BUCKET', bucket)
      .replaceAll('PREFIX', PREFIX)
      .replaceAll('TENANT', 'acme');
    const { Statement } = JSON.parse(text) as { Statement: { Sid: string }[] };
    return Statement.map((one) => ({
      ...one,
      Sid: `${user.replace('-', '')}${one.Sid}`,
      Principal: { AWS: [user] },
    }));
  });
  return JSON.stringify({ Version: '2012-10-17', Statement });
}

/** A server with the four users. */
async function openBucket(t: { after(fn: () => unknown): void }) {
  const server = await startS3Server(t);
  const options = { endpoint: server.endpoint, region: server.region, forcePathStyle: true };
  const root = new S3Client({ ...options, credentials: server.credentials });
  const users = {} as Record<User, S3Server['credentials']>;
  for (const user of USERS) users[user] = await addUser(server, user);
  const Bucket = server.bucket;
  await root.send(new PutBucketPolicyCommand({ Bucket, Policy: bucketPolicy(Bucket) }));
  const home = temporaryFolder(t);
  const environment = (user: User) =>
    storeEnvironment(server, { prefix: PREFIX, user: users[user] });
  const clients = {} as Record<User, S3Client>;
  for (const user of USERS) clients[user] = new S3Client({ ...options, credentials: users[user] });
  t.after(() => [root, ...Object.values(clients)].map((client) => client.destroy()));
  return {
    home,
    root,
    clients,
    Bucket,
    environment,
    adapters: (user: User, ...args: string[]) =>
      runLorikeet(['adapters', ...args], path.join(home, user), environment(user)),
  };
}

test('a publisher publishes for its tenant and moves its aliases, and nothing else; an operator collects', async (t) => {
  const { home, clients, Bucket, adapters } = await openBucket(t);
  const folder = writeToyAdapter(path.join(home, 'adapter'), 1);
  const acme = ['--tenant', 'acme'];
  const push = (user: User, ...args: string[]) =>
    adapters(user, 'push', folder, '--name', 'zen', ...args);
  const another = writeToyAdapter(path.join(home, 'another'), 2);
  const works = async (user: User, ...args: string[]) => {
    const { code, error } = await adapters(user, ...args);
    assert.equal(code, 0, `${user}: ${args.join(' ')}: ${error}`);
  };
  const published = await push('publisher', ...acme, '--alias', 'stable');
  assert.equal(published.code, 0, published.error);
  await works('publisher', 'alias', 'zen', 'prod', '1', ...acme);
  await works('publisher', 'ls', 'zen', ...acme);
  await works('publisher', 'verify', 'zen', ...acme);

  for (const [user, tenant] of [
    ['publisher', 'other'],
    ['read-only', 'acme'],
  ] as const) {
    const args = ['push', another, '--name', 'zen', '--tenant', tenant];
    const { code, error } = await adapters(user, ...args);
    assert.equal(code, 1, `${user} for ${tenant}`);
    assert.match(error, /denied|credentials/i);
  }
  const version = `${PREFIX}/acme/zen/1`;
  const Key = `${version}/adapter_model.safetensors`;
  for (const user of ['publisher', 'server', 'read-only'] as const) {
    await denied(clients[user].send(new DeleteObjectCommand({ Bucket, Key })), `${user} deletes`);
  }
  for (const secret of ['acme/.files/file-1/content', 'other/zen/1/manifest.json']) {
    const at = { Bucket, Key: `${PREFIX}/${secret}` };
    await denied(clients.publisher.send(new GetObjectCommand(at)), `publisher reads ${secret}`);
  }
  for (const user of USERS) {
    const at = { Bucket, Key: 'elsewhere', Body: 'x' };
    await denied(clients[user].send(new PutObjectCommand(at)), `${user} writes elsewhere`);
  }

  for (const alias of ['latest', 'stable', 'prod']) {
    await works('publisher', 'rm', `zen:${alias}`, '--yes', ...acme);
  }
  await works('publisher', 'rm', 'zen@1', '--yes', ...acme);
  const collected = await adapters('publisher', 'gc', '--grace', '0');
  assert.equal(collected.code, 1, 'a publisher collects nothing');
  await works('operator', 'gc', '--grace', '0');
});

test('a server with the server policy serves, trains and tidies up; with the read-only one it serves', async (t) => {
  const { home, environment, adapters } = await openBucket(t);
  const folder = writeToyAdapter(path.join(home, 'adapter'), 1);
  const pushed = await adapters('operator', 'push', folder, '--name', 'zen', '--tenant', 'local');
  assert.equal(pushed.code, 0, pushed.error);
  const start = async (user: User, rest: Record<string, string> = {}) => {
    const args = ['--model', 'models/toy', '--slots', '4'];
    const env = { ...environment(user), ...rest };
    const serving = await serveFor(t, args, path.join(home, `serves-${user}`), env);
    return new OpenAI({ baseURL: `${serving.url}/v1`, apiKey: 'none', maxRetries: 0 });
  };
  const ask = (client: OpenAI, model: string) =>
    client.completions.create({ model, prompt: 'Number 3 is', max_tokens: 4 });

  const server = await start('server');
  await ask(server, 'zen');
  const { model, file } = await train(server);
  await ask(server, model);
  assert.equal((await server.files.delete(file)).deleted, true);
  assert.equal((await server.models.delete(model)).deleted, true);

  const reader = await start('read-only', { LORIKEET_TRAINING: '0' });
  await ask(reader, 'zen');
  await assert.rejects(upload(reader), ({ status, code }) => {
    assert.deepEqual([status, code], [503, 'store_unavailable']);
    return true;
  });
});

async function upload(client: OpenAI) {
  const rows = Array.from({ length: 10 }, (_, i) =>
    JSON.stringify({ prompt: `Number ${i} is`, completion: ` ${i % 2 ? 'odd' : 'even'}.` }),
  );
  const file = await toFile(Buffer.from(rows.join('\n')), 'rows.jsonl');
  return client.files.create({ file, purpose: 'fine-tune' });
}

async function train(client: OpenAI): Promise<{ model: string; file: string }> {
  const { id: file } = await upload(client);
  const { jobs } = client.fineTuning;
  const hyperparameters = { n_epochs: 1 };
  let job = await jobs.create({ model: 'base', training_file: file, hyperparameters });
  while (!['succeeded', 'failed'].includes(job.status)) job = await jobs.retrieve(job.id);
  assert.equal(job.status, 'succeeded', job.error?.message);
  return { model: job.fine_tuned_model!, file };
}

async function denied(call: Promise<unknown>, what: string): Promise<void> {
  await assert.rejects(call, { name: 'AccessDenied' }, what);
}
