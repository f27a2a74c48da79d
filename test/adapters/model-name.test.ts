import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  type NamedAdapter,
  type NamedTerm,
  parseModelName,
} from '../../adapters/registry/model-name.ts';

const alias = (name: string, of = 'latest'): NamedAdapter => ({
  name,
  selector: { kind: 'alias', alias: of },
});
const version = (name: string, number: number): NamedAdapter => ({
  name,
  selector: { kind: 'version', version: number },
});
const tuned = (origin: [base: string, tenant: string], adapter: NamedAdapter): NamedAdapter => ({
  ...adapter,
  origin: { base: origin[0], tenant: origin[1] },
});
const X256 = 'x'.repeat(256);
const RUN = 'tinker-0123456789abcdef01234567';

describe('a model', () => {
  const forms: [text: string, ...terms: (NamedAdapter | [weight: number, NamedAdapter])[]][] = [
    ['zen', alias('zen')],
    ['Zen_v1.0', alias('Zen_v1.0')],
    ['_zen', alias('_zen')],
    ['basement', alias('basement')],
    [X256.slice(1), alias(X256.slice(1))],
    ['zen@3', version('zen', 3)],
    ['zen@999999999', version('zen', 999_999_999)],
    ['zen:stable', alias('zen', 'stable')],
    ['zen:latest', alias('zen')],
    ['ft:toy:acme:zen:ftjob-1', tuned(['toy', 'acme'], alias('zen', 'ftjob-1'))],
    ['ft:toy:acme::ftjob-1', tuned(['toy', 'acme'], alias('ftjob-1', 'ftjob-1'))],
    ['ft:llama3:8b:acme:zen:j', tuned(['llama3:8b', 'acme'], alias('zen', 'j'))],
    ['ft:toy:acme:zen:j:ckpt-step-20', tuned(['toy', 'acme'], alias('zen', 'j.ckpt-step-20'))],
    ['ft:toy:acme::j:ckpt-step-1', tuned(['toy', 'acme'], alias('j', 'j.ckpt-step-1'))],
    [`tinker://${RUN}:train:3/weights/step-2`, alias(`${RUN}-3`, 'training.step-2')],
    [
      `tinker://${RUN}:train:0/sampler_weights/final+0.5*zen`,
      alias(`${RUN}-0`, 'sampler.final'),
      [0.5, alias('zen')],
    ],
    ['a+b', alias('a'), alias('b')],
    ['a+0.5*b', alias('a'), [0.5, alias('b')]],
    ['0.5*a', [0.5, alias('a')]],
    ['.5*a+4*a', [0.5, alias('a')], [4, alias('a')]],
    ['a+-0.25*b@2', alias('a'), [-0.25, version('b', 2)]],
    ['-0*a', [0, alias('a')]],
    [
      '1.5*ft:toy:acme:zen:j+a:stable+b@1+c',
      [1.5, tuned(['toy', 'acme'], alias('zen', 'j'))],
      alias('a', 'stable'),
      version('b', 1),
      alias('c'),
    ],
  ];
  for (const [text, ...terms] of forms) {
    test(`${text.slice(0, 40)} is read`, () => {
      const expected = terms.map(
        (term): NamedTerm =>
          Array.isArray(term)
            ? { weight: term[0], adapter: term[1] }
            : { weight: 1, adapter: term },
      );
      assert.deepEqual(parseModelName(text), { kind: 'adapters', terms: expected });
    });
  }

  test('base and default are themselves', () => {
    assert.deepEqual(parseModelName('base'), { kind: 'base' });
    assert.deepEqual(parseModelName('default'), { kind: 'default' });
  });
});

const MALFORMED = [
  ['', '.', '..', '.hidden', 'a..b', '../a', 'a/b', 'a\\b', 'a b', ' a', 'a\n', 'a\0', '-a'],
  ['%2e%2e%2f', '~', '\u202Elaer', 'rеal', '🦜', X256, 's3://bucket/a', 'https:x/y', 'http://a'],
  ['a@', 'a@0', 'a@01', 'a@-1', 'a@1.5', 'a@1e3', 'a@latest', 'a@1000000000', '@1', 'a@1@2'],
  ['a:', ':a', 'a:b:c', 'a:b@1', 'a@1:b', 'a:../b', 'a:b/c', `a:${X256.slice(0, 64)}`, 'a:\n'],
  ['base@1', 'base:stable', 'default:x', 'ft', 'ft@1', 'base+a', 'a+default', '0.5*base', 'Base '],
  ['ft:', 'ft:a', 'ft:a:b', 'ft:a:b:c', 'ft:a:b:c:', 'ft::b:c:d', 'ft:a::c:d', 'ft:a:b:../c:d'],
  ['ft:a:b:c/d:e', 'ft:a:b:c:d/', 'ft:a:b::', 'ft:a:b::.x'],
  [`ft:a:b:c:${'j'.repeat(60)}:ckpt-step-1`, `ft:a:b:${X256.slice(0, 64)}:d`, 'ft:a:b:c:d@1'],
  ['+', 'a+', '+a', 'a++b', 'a+b+c+d+e', '*a', 'a*', 'a*b', '1*', '1**a', '1*1*a', '0.5*'],
  ['5*a', '-4.01*a', '4.000001*a', '1e1*a', 'NaN*a', 'Infinity*a', '+1*a', '0x1*a', ' 1*a'],
  ['1.*a', '1.0000001*a', '1,5*a', '--1*a', '٣*a', '1000*a', `${'a+'.repeat(3)}${X256}`],
].flat();

test('what has none of the forms is nothing', () => {
  for (const text of MALFORMED) {
    assert.equal(parseModelName(text), undefined, JSON.stringify(text));
  }
});

describe('any', () => {
  const edge = [...'abcxyzABCXYZ0189_'];
  const segment = (maxLength: number) =>
    fc
      .tuple(
        fc.constantFrom(...edge),
        fc.string({ unit: fc.constantFrom(...edge, '.', '-'), maxLength: maxLength - 1 }),
      )
      .map(([first, rest]) => first + rest)
      .filter((text) => !text.includes('..') && !['base', 'default', 'ft'].includes(text));
  const written = fc.oneof(
    segment(12).map((name) => ({ text: name, adapter: alias(name) })),
    fc
      .tuple(segment(12), fc.integer({ min: 1, max: 1e9 - 1 }))
      .map(([name, n]) => ({ text: `${name}@${n}`, adapter: version(name, n) })),
    fc
      .tuple(segment(12), segment(12))
      .map(([name, a]) => ({ text: `${name}:${a}`, adapter: alias(name, a) })),
    fc
      .tuple(segment(12), segment(8), fc.option(segment(12), { nil: '' }), segment(12))
      .map(([base, tenant, suffix, id]) => ({
        text: `ft:${base}:${tenant}:${suffix}:${id}`,
        adapter: tuned([base, tenant], alias(suffix || id, id)),
      })),
  );
  const term = fc
    .tuple(written, fc.integer({ min: -4e6, max: 4e6 }))
    .map(([{ text, adapter }, millionths]) => {
      const weight = millionths / 1e6;
      return { text: `${weight.toFixed(6)}*${text}`, term: { adapter, weight: weight + 0 } };
    });

  test('composition that is written is read back', () => {
    fc.assert(
      fc.property(fc.array(term, { minLength: 1, maxLength: 4 }), (terms) => {
        const text = terms.map((one) => one.text).join('+');
        assert.deepEqual(parseModelName(text), {
          kind: 'adapters',
          terms: terms.map((one) => one.term),
        });
      }),
    );
  });

  test('text is read within bounds or not at all', () => {
    const unit = fc.oneof(fc.constantFrom(...'a1@:+*.-/ft'), fc.string({ unit: 'binary' }));
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 40 }), (text) => {
        const model = parseModelName(text);
        if (model?.kind !== 'adapters') return;
        assert.ok(model.terms.length <= 4);
        for (const { adapter, weight } of model.terms) {
          assert.ok(Math.abs(weight) <= 4);
          assert.match(adapter.name, /^[\w][\w.-]*$/);
          assert.doesNotMatch(adapter.name, /\.\./);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
