// Cells of the heatmap: durations and moments to cells and back, boxes by pointer and key.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  boxOf, callsIn, cellAt, columnOf, describe, millisecondsOf, moved, nanoOf, rowOf,
} from '../../tracelens/assets/heatmap-cells.js';

const NOON = Date.UTC(2026, 0, 5, 12);
const GRID = {
  columns: 4, rows: 3, start_ms: NOON, end_ms: NOON + 4_000, low_nano: 1e6, high_nano: 1e9,
  counts: [1, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 1_000], // the lowest row first
};

test('each row is a decade here, and the way back is the same', () => {
  assert.deepEqual([1e6, 1e7, 1e8, 1e9].map((nano) => Math.round(rowOf(GRID, nano) * 1e6) / 1e6), [0, 1, 2, 3]);
  for (const row of [0, 0.5, 1, 2.9]) assert.ok(Math.abs(rowOf(GRID, nanoOf(GRID, row)) - row) < 1e-9);
  for (const column of [0, 1.5, 4]) assert.equal(columnOf(GRID, millisecondsOf(GRID, column)), column);
});

test('every place of the plot is a cell, the lowest latency at the bottom', () => {
  assert.deepEqual(cellAt(GRID, 0, 1), { column: 0, row: 0 });
  assert.deepEqual(cellAt(GRID, 0.99, 0.01), { column: 3, row: 2 });
  assert.deepEqual(cellAt(GRID, -1, 7), { column: 0, row: 0 });
  assert.deepEqual(cellAt(GRID, 7, -1), { column: 3, row: 2 });
});

test('a box is the same whichever way it was drawn', () => {
  const [a, b] = [{ column: 3, row: 0 }, { column: 1, row: 2 }];
  assert.deepEqual(boxOf(a, b), [1, 4, 0, 3]);
  assert.deepEqual(boxOf(b, a), boxOf(a, b));
  assert.deepEqual(boxOf(a, a), [3, 4, 0, 1]);
});

test('a box says how many calls it holds, how long they took and when they were', () => {
  assert.equal(callsIn(GRID, [0, 4, 0, 3]), 1_006);
  assert.deepEqual(describe(GRID, [0, 2, 0, 2]), ['4 calls', '1.00 ms – 100 ms', '12:00:00 – 12:00:02']);
  assert.deepEqual(describe(GRID, [0, 1, 0, 1]), ['1 call', '1.00 ms – 10.0 ms', '12:00:00 – 12:00:01']);
  assert.equal(describe(GRID, [3, 4, 2, 3])[0], '1,000 calls');
});

test('arrows move a box, with its size, and it stays within the grid', () => {
  assert.deepEqual(moved(GRID, [1, 2, 0, 1], 'ArrowRight', false), [2, 3, 0, 1]);
  assert.deepEqual(moved(GRID, [1, 2, 0, 1], 'ArrowUp', false), [1, 2, 1, 2]);
  assert.deepEqual(moved(GRID, [0, 2, 0, 1], 'ArrowLeft', false), [0, 2, 0, 1]);
  assert.deepEqual(moved(GRID, [0, 2, 0, 1], 'ArrowDown', false), [0, 2, 0, 1]);
  assert.deepEqual(moved(GRID, [2, 4, 2, 3], 'ArrowRight', false), [2, 4, 2, 3]);
});

test('with Shift the far corner moves, and a box never vanishes', () => {
  assert.deepEqual(moved(GRID, [1, 2, 0, 1], 'ArrowRight', true), [1, 3, 0, 1]);
  assert.deepEqual(moved(GRID, [1, 2, 0, 1], 'ArrowLeft', true), [1, 2, 0, 1]);
  assert.deepEqual(moved(GRID, [0, 4, 0, 3], 'ArrowUp', true), [0, 4, 0, 3]);
});

test('another key moves nothing', () => {
  for (const key of ['Enter', 'j', 'constructor', 'toString', '__proto__']) assert.equal(moved(GRID, [0, 1, 0, 1], key, false), null);
});
