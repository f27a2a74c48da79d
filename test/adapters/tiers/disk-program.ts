// A second process on a disk tier's folder: writes, reads and evicts as the first one does.
import assert from 'node:assert/strict';
import { digestAdapterFiles } from '../../../adapters/peft/files.ts';
import { type DiskItem, DiskTier } from '../../../adapters/tiers/disk.ts';
import { pieces, publishedVersion } from './published.ts';

const [root, capacity] = process.argv.slice(2);
const tier = new DiskTier({ root: root!, capacityBytes: Number(capacity) });
process.stdout.write('begun\n');
for (let round = 0; round < 150; round++) {
  const { manifest, bytes } = publishedVersion(`v${(round * 7) % 10}`);
  const item: DiskItem = { owner: manifest.tenant, digest: manifest.digest, files: manifest.files };
  const release = tier.hold(item);
  if (!(await tier.has(item))) await tier.write(item, (name) => pieces(bytes[name]));
  const found = await digestAdapterFiles(tier.directory(item)).catch(() => undefined);
  assert.ok(found === undefined || found.digest === manifest.digest);
  release();
}
