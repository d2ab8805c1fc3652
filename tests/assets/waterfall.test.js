// The rows of a trace: folding, the critical path alone, scrolling, keys, what a span says.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describe, foldable, inSight, index, line, meaning, reveal, step, visible,
} from '../../tracelens/assets/waterfall-rows.js';

// 0 web ─┬─ 1 cart ─┬─ 2 db
//        │          └─ 3 db
//        └─ 4 pay
const SPANS = {
  depth: [0, 1, 2, 2, 1], parent: [-1, 0, 1, 1, 0],
  start: [5e6, 6e6, 7e6, 9e6, 15e6], end: [25e6, 14e6, 8e6, 13e6, 24e6], path: [3e6, 0, 0, 8e6, 9e6],
  service: ['web', 'cart', 'db', 'db', 'pay'], operation: ['GET /', 'read', 'q', 'q', 'charge'],
  layer: ['app', 'app', 'app', 'app', 'ingress_proxy'], marks: [[], [], [], ['clip_after', 'orphan'], []],
};
const SECTIONS = { row: [4, 3, 0, 3], start: [15e6, 9e6, 5e6, 11e6], end: [24e6, 11e6, 8e6, 13e6] };
const MADE = index(SPANS, SECTIONS);
const NONE = new Set();

test('a span knows its children, where its subtree ends, and its sections of the path', () => {
  assert.deepEqual([...MADE.children], [2, 2, 0, 0, 0]);
  assert.deepEqual([...MADE.end], [5, 4, 3, 4, 5]);
  assert.deepEqual(MADE.path[3], [[9e6, 11e6], [11e6, 13e6]]);
  assert.deepEqual(MADE.path[1], []);
});

test('a folded span hides what is below it and nothing else', () => {
  assert.deepEqual(visible(MADE, NONE, false), [0, 1, 2, 3, 4]);
  assert.deepEqual(visible(MADE, new Set([1]), false), [0, 1, 4]);
  assert.deepEqual(visible(MADE, new Set([0]), false), [0]);
  assert.deepEqual(visible(MADE, new Set([2]), false), [0, 1, 2, 3, 4]); // it has nothing below
});

test('"critical only" leaves spans with a section of the path', () => {
  assert.deepEqual(visible(MADE, NONE, true), [0, 3, 4]);
  assert.deepEqual(visible(MADE, new Set([1]), true), [0, 4]);
});

test('folding everything closes spans with children, but the root', () => {
  assert.deepEqual(foldable(MADE, SPANS.depth, visible(MADE, NONE, false)), [1]);
});

test('only rows in sight are drawn, whole and half ones', () => {
  assert.deepEqual(inSight(10_001, 0, 640, 24), [0, 28]);
  assert.deepEqual(inSight(10_001, 240_000 - 12, 640, 24), [9_999, 10_001]);
  assert.deepEqual(inSight(3, 0, 640, 24), [0, 3]);
});

test('it scrolls as little as puts a row in sight', () => {
  assert.deepEqual([0, 9, 10, 11, 40].map((at) => reveal(at, 240, 240, 24)), [0, 216, 240, 240, 744]);
  assert.equal(reveal(40, 0, 0, 24), 0); // nothing is laid out yet
});

test('steps go from row to row and stop at the ends', () => {
  const rows = [0, 1, 4];
  assert.deepEqual([step(rows, 1, 1), step(rows, 4, 1), step(rows, 0, -1), step(rows, 4, -1)], [4, 4, 0, 1]);
  assert.equal(step(rows, -1, 1), 0); // nothing is chosen yet
  assert.equal(step(rows, 3, 1), 0); // what was chosen is folded away
});

test('keys mean what the list of keys says', () => {
  assert.deepEqual(['j', 'k', 'ArrowLeft', '[', ']', 'p', 'Escape'].map(meaning), [
    ['step', 1], ['step', -1], ['fold', true], ['bracket', true], ['bracket', false], ['only'], ['whole'],
  ]);
  assert.deepEqual(['x', 'constructor', '__proto__', 'toString'].map(meaning), [null, null, null, null]);
});

test('a span says when it starts, what it takes, its part of the path and what was mended', () => {
  assert.deepEqual(describe(SPANS, 5e6, 20e6, 3), [
    'db q', 'starts at 4.00 ms · takes 4.00 ms', 'on the critical path 8.00 ms, 40.0 % of the trace', 'clip_after', 'orphan',
  ]);
  assert.equal(describe(SPANS, 5e6, 20e6, 4)[0], 'pay charge · ingress proxy');
  assert.deepEqual(line(SPANS, 5e6, 3), ['\u2003\u2003db q', '4.00 ms', '4.00 ms', '8.00 ms', 'clip_after, orphan']);
});
