// Formulas over scores: precedence, functions, and what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFormula } from '../../src/graders/formula.ts';

const SCORES = { a: 0.5, b: 0.25, c_1: 4 };
const names = new Set(Object.keys(SCORES));

test('formulas follow the usual precedence', () => {
  for (const [formula, value] of [
    ['a', 0.5],
    ['a + b * 2', 1],
    ['(a + b) * 2', 1.5],
    ['1 - a - b', 0.25],
    ['c_1 / 2 / 2', 1],
    ['-2 ^ 2', -4],
    ['2 ^ 3 ^ 2', 512],
    ['2 ^ -1', 0.5],
    ['- -a', 0.5],
    ['max(a, b, 0.3) + min(a, b)', 0.75],
    ['floor(2.7) + ceil(0.2) + abs(-1)', 4],
    ['sqrt(c_1) * exp(0) + log(1)', 2],
    ['1.5e1', 15],
    [' .5+b ', 0.75],
  ] as const) {
    assert.equal(parseFormula(formula, names)(SCORES), value, formula);
  }
});

test('anything else is refused with the place at fault', () => {
  for (const [formula, message] of [
    ['', /unexpected end/],
    ['a +', /unexpected end/],
    ['a b', /unexpected "b"/],
    ['d', /"d" is not one of the graders/],
    ['(a', /"\)" is missing/],
    ['a ** b', /unexpected "\*"/],
    ['a; b', /unexpected "; b"/],
    ['constructor(a)', /constructor\(\) is not one of/],
    ['max()', /unexpected "\)"/],
    [`${'('.repeat(101)}a${')'.repeat(101)}`, /nested deeper than 100/],
    [`${'-'.repeat(101)}a`, /nested deeper than 100/],
    ['1..toString', /unexpected/],
  ] as const) {
    assert.throws(() => parseFormula(formula, names), message, formula);
  }
});
