// Work in parts has one progress.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { WorkProgress } from '../src/common/work-progress.ts';

const PARTS = ['read', 'rounded', 'checked'] as const;
const sizes = fc.record({
  read: fc.nat(1000),
  rounded: fc.nat(1000),
  checked: fc.integer({ min: 1, max: 1000 }),
});
const updates = fc.array(fc.tuple(fc.constantFrom(...PARTS), fc.nat(2000)));

test('a progress only grows, and reaches its total once, when the last part ends', () => {
  fc.assert(
    fc.property(sizes, updates, (bytes, calls) => {
      const seen: number[] = [];
      const total = bytes.read + 3 * bytes.rounded + 10 * bytes.checked;
      const work = new WorkProgress(bytes, { read: 1, rounded: 3, checked: 10 }, (done, of) => {
        assert.equal(of, total);
        seen.push(done);
      });
      for (const [part, done] of calls) work.update(part, done);
      for (const part of [...PARTS, ...PARTS]) work.finish(part);
      const growing = [...new Set(seen)].sort((a, b) => a - b);
      assert.deepEqual(seen, growing);
      assert.equal(seen.at(-1), total);
    }),
  );
});
