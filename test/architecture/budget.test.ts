// The budget of code lines over the real tree, and sources that break it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  budgetFaults,
  codeLines,
  countLines,
  growthFaults,
  lowerBudget,
  parseBudget,
  unexplainedGrowth,
} from './budget.ts';

test('every folder keeps to its budget of code lines, and its budget to the folder', () => {
  assert.deepEqual(budgetFaults(parseBudget(), countLines()), []);
});

test('blank lines and comments do not count', () => {
  assert.equal(codeLines('// a\n\n/** b\n * c */\nconst d = 1; // e\n/* f */\n  * g\n}\n'), 2);
  assert.equal(codeLines('<!-- a\nb -->\n<p>c</p>\n'), 1);
});

test('budgets rise only in a commit that lowers others by as much, or says what for', () => {
  assert.deepEqual(growthFaults(), []);
  const before = { 'src/a': 100, 'src/b': 100 };
  const raised = { 'src/a': 110, 'src/b': 100 };
  assert.equal(unexplainedGrowth(before, raised, 'feat: a').length, 1);
  assert.deepEqual(unexplainedGrowth(before, raised, 'feat: a\n\nBudget: the feature a'), []);
  assert.deepEqual(unexplainedGrowth(before, { 'src/a': 110, 'src/b': 90 }, 'feat: a'), []);
});

test('too much, far too little and a folder without a budget are found; a budget is only lowered', () => {
  const budget = { 'src/a': 1000, 'src/b': 1000, 'src/c': 1000, 'src/gone': 50 };
  const counts = { 'src/a': 1001, 'src/b': 969, 'src/c': 970, 'src/new': 1 };
  const folders = budgetFaults(budget, counts).map((fault) => fault.split(':')[0]);
  assert.deepEqual(folders, ['src/a', 'src/b', 'src/new', 'src/gone']);
  assert.deepEqual(lowerBudget(budget, counts), { 'src/a': 1000, 'src/b': 980, 'src/c': 1000 });
});
