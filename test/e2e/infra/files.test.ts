import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { listSettings } from '../../../src/settings/config.ts';
import { temporaryFolder } from '../../fixtures.ts';
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

test('Caddy takes its configuration as it is', (t) => {
  const tool = findTool('caddy');
  if ('reason' in tool) return t.skip(tool.reason);
  const { code, output } = runTool(tool.file, ['validate', '--config', 'infra/caddy/Caddyfile']);
  assert.equal(code, 0, output);
});

test('nginx takes its configuration, with a certificate', (t) => {
  const tool = findTool('nginx');
  if ('reason' in tool) return t.skip(tool.reason);
  const folder = temporaryFolder(t);
  const at = (name: string) => path.join(folder, name);
  const certificate = ['-keyout', at('privkey.pem'), '-out', at('fullchain.pem'), '-days', '1'];
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=api.example.org'];
  assert.equal(runTool('openssl', [...request, ...certificate]).code, 0);
  const site = readFileSync('infra/nginx/lorikeet.conf', 'utf8').replaceAll(
    '/etc/letsencrypt/live/api.example.org',
    folder,
  );
  const main = `pid ${at('pid')}; error_log ${at('error')}; events {} http { ${site} }`;
  writeFileSync(at('nginx.conf'), main);
  const { code, output } = runTool(tool.file, ['-t', '-c', at('nginx.conf')]);
  assert.equal(code, 0, output);
});

test('systemd takes the unit', (t) => {
  const tool = '/usr/bin/systemd-analyze';
  if (!existsSync(tool)) return t.skip(`${tool} is missing`);
  const unit = path.join(temporaryFolder(t), 'lorikeet.service');
  const text = readFileSync('infra/systemd/lorikeet.service', 'utf8');
  writeFileSync(unit, text.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`));
  assert.deepEqual(runTool(tool, ['verify', unit]), { code: 0, output: '' });
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
