// The bill of materials, and the gate on known vulnerabilities.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { unacceptedAdvisories } from '../scripts/audit.mjs';
import { billOfMaterials } from '../scripts/sbom.mjs';

test('T42: the bill of materials lists every package that users run, with version, license and hash', () => {
  const text: string = billOfMaterials();
  const { bomFormat, metadata, components } = JSON.parse(text);
  assert.deepEqual([bomFormat, metadata.component.name], ['CycloneDX', 'lorikeet']);
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
  const byName = new Map<string, { version: string; licenses?: unknown; hashes?: unknown }>(
    components.map((component: { name: string }) => [component.name, component]),
  );
  for (const [name, version] of Object.entries(dependencies)) {
    const component = byName.get(name);
    assert.equal(component?.version, version, name);
    assert.ok(component?.licenses, `${name} has no license`);
    assert.ok(component?.hashes, `${name} has no hash`);
  }
  assert.ok(!byName.has('typescript'), 'development tools are not listed');
});

test('T42: a known vulnerability fails the audit unless it is accepted with a reason', () => {
  const advisory = {
    name: 'left-pad',
    title: 'pads to the right',
    url: 'https://github.com/advisories/GHSA-aaaa-bbbb-cccc',
    severity: 'high',
  };
  const report = {
    vulnerabilities: { 'left-pad': { via: [advisory] }, user: { via: ['left-pad'] } },
  };
  const line = 'GHSA-aaaa-bbbb-cccc left-pad (high): pads to the right';
  assert.deepEqual(unacceptedAdvisories(report), [line]);
  assert.deepEqual(
    unacceptedAdvisories(report, { 'GHSA-aaaa-bbbb-cccc': 'we pad to the left' }),
    [],
  );
  assert.deepEqual(unacceptedAdvisories({ vulnerabilities: {} }), []);
  assert.equal(unacceptedAdvisories({ error: { code: 'ENOAUDIT' } }), undefined);
});
