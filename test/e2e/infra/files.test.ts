import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { listSettings } from '../../../src/settings/config.ts';
import { findTool, runTool } from './tools.ts';

const infraFiles = readdirSync('infra', { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => path.join(entry.parentPath, entry.name));

test('the Dockerfile passes hadolint', (t) => {
  const tool = findTool('hadolint');
  if ('reason' in tool) return t.skip(tool.reason);
  const { code, output } = runTool(tool.file, ['Dockerfile']);
  assert.equal(code, 0, output);
});

test('the Lambda template passes cfn-lint', (t) => {
  const tool = findTool('cfn-lint');
  if ('reason' in tool) return t.skip(tool.reason);
  const { code, output } = runTool(tool.file, ['infra/aws-lambda/template.yaml']);
  assert.equal(code, 0, output);
});

test('the balancer takes its configuration as it is', (t) => {
  const tool = findTool('haproxy');
  if ('reason' in tool) return t.skip(tool.reason);
  const { code, output } = runTool(tool.file, ['-c', '-f', 'infra/haproxy/haproxy.cfg']);
  assert.equal(code, 0, output);
});

test('every setting that these files give the server is one', () => {
  const known = new Set(listSettings().map(({ env }) => env));
  for (const file of [...infraFiles, 'Dockerfile']) {
    for (const [name] of readFileSync(file, 'utf8').matchAll(/\bLORIKEET_[A-Z0-9_]+\b/g)) {
      assert.ok(known.has(name), `${file}: ${name}`);
    }
  }
});

test('wherever keys are needed and a platform gives the host its name, all names are taken', () => {
  for (const file of infraFiles) {
    const text = readFileSync(file, 'utf8');
    if (!/LORIKEET_KEYS(_JSON)?\b/.test(text) || file.endsWith('NOTES.txt')) continue;
    assert.match(text, /LORIKEET_ALLOWED_HOSTS/, file);
  }
});

test('bucket policies name no more than objects and their listing', () => {
  const allowed = /^s3:(ListBucket|GetObject|PutObject|DeleteObject|AbortMultipartUpload)$/;
  for (const file of infraFiles.filter((name) => /s3\/policy-.*\.json$/.test(name))) {
    const { Statement } = JSON.parse(readFileSync(file, 'utf8'));
    for (const { Action, Resource } of Statement) {
      for (const action of Action) assert.match(action, allowed, file);
      for (const resource of Resource) {
        assert.match(resource, /^arn:aws:s3:::BUCKET(\/PREFIX\/[\w./*-]+)?$/, file);
      }
    }
  }
});
