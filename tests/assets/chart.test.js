// Lines of a chart: the end of its axis, gaps, the stretch under the pointer, numbers in their unit.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { above, nearest, round, runs, written } from '../../tracelens/assets/chart-lines.js';

const line = (...values) => ({ values });

test('the axis ends above the largest value, and above a threshold that is near', () => {
  assert.equal(above([line(1, 100, null), line(50)], null), 108);
  assert.equal(above([line(100)], 300), 324);
  assert.equal(above([line(100)], 500), 108); // too far: it is named at the edge
  assert.equal(above([line(null), line()], 500), 540);
  assert.equal(above([], null), 1);
  assert.equal(above([line(0)], null), 1);
});

test('a line has a run for each stretch without a gap', () => {
  assert.deepEqual(runs([null, 1, 2, null, 3, null, null, 4]), [[1, 3], [4, 5], [7, 8]]);
  assert.deepEqual(runs([0, 0]), [[0, 2]]);
  assert.deepEqual(runs([null]), []);
  assert.deepEqual(runs([]), []);
});

test('the pointer is over a stretch, or beside the plot', () => {
  assert.deepEqual([0, 0.49, 0.5, 0.999].map((share) => nearest(share, 2)), [0, 0, 1, 1]);
  assert.deepEqual([-0.01, 1, 7].map((share) => nearest(share, 2)), [null, null, null]);
});

test('numbers have the unit of their measure', () => {
  assert.deepEqual([written('duration', 8.214e6), written('share', 0.0325), written('rate', 0.1234)], ['8.21 ms', '3.2 %', '0.123 /s']);
  assert.deepEqual([written('rate', 12_345.6), written('rate', 0), written('share', null)], ['12,346 /s', '0 /s', '–']);
  assert.deepEqual([round('duration', 3e8), round('share', 0.05), round('rate', 0.2)], ['300 ms', '5 %', '0.2']);
});
