// What components share: a tooltip's place, rows by key, the ink on a colour,
// small lines, outlines of distributions.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bandwidth, below, bound } from '../../tracelens/assets/distribution.js';
import { course } from '../../tracelens/assets/sparkline.js';
import { beside, ink, neighbour } from '../../tracelens/assets/surface.js';

const BOUNDS = { left: 100, top: 50, width: 400 };

test('a tooltip stands right of the pointer, on the left where there is no room, and never outside', () => {
  assert.deepEqual(beside({ clientX: 150, clientY: 60 }, 200, BOUNDS), { left: 64, top: 26 });
  assert.deepEqual(beside({ clientX: 480, clientY: 60 }, 200, BOUNDS), { left: 166, top: 26 });
  assert.equal(beside({ clientX: 180, clientY: 60 }, 390, BOUNDS).left, 0);
});

test('arrows, j and k go on from the row in focus, and first of all to it', () => {
  assert.deepEqual(['j', 'ArrowDown', 'k', 'ArrowUp'].map((key) => neighbour(key, 3, true)), [4, 4, 2, 2]);
  assert.equal(neighbour('j', 3, false), 3);
  assert.deepEqual(['Enter', 'constructor', '__proto__'].map((key) => neighbour(key, 3, true)), [null, null, null]);
});

test('on every colour one of black and white is read well, and that one is taken', () => {
  assert.deepEqual(['#ffffff', '#6b8e23', '#5c9e78', '#1f5fd6', 'rgb(14,45,102)', 'rgb(0, 0, 0)'].map(ink), [
    '#000000', '#000000', '#000000', '#ffffff', '#ffffff', '#ffffff',
  ]);
  for (let grey = 0; grey < 256; grey += 1) {
    const share = grey / 255;
    const light = share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    const contrast = ink(`rgb(${grey},${grey},${grey})`) === '#000000' ? (light + 0.05) / 0.05 : 1.05 / (light + 0.05);
    assert.ok(contrast >= 4.5, `${grey}: ${contrast}`);
  }
});

test('a stretch without data is a gap in a line, never a zero', () => {
  const { path, last } = course([1, 2, null, 2, 1, null], 106, 26);
  assert.equal(path, 'M3.0 23.0L23.0 3.0M63.0 3.0L83.0 23.0');
  assert.deepEqual(last, { x: 83, y: 23 });
});

test('a line that does not move runs through the middle, and one number is none', () => {
  assert.equal(course([5, 5], 106, 26).path, 'M3.0 13.0L103.0 13.0');
  assert.equal(course([null, 5, null], 106, 26), null);
});

const SIDE = { counts: [1, 2, 1], calls: 4, low: 1e6, high: 1e9 };

test('the share of calls below a duration grows from none to all, half of a step at its middle', () => {
  assert.ok(Math.abs(bound(SIDE, 1) - 1e7) < 1);
  const shares = [1e5, 1e6, 1e7, 10 ** 7.5, 1e8, 1e9, 1e12].map((nano) => Number(below(SIDE, nano).toFixed(6)));
  assert.deepEqual(shares, [0, 0, 0.25, 0.5, 0.75, 1, 1]);
  assert.equal(below({ ...SIDE, counts: [0, 0, 0], calls: 0 }, 1e8), 0);
});

test('more calls are drawn sharper, within bounds', () => {
  const wide = { counts: Array(240).fill(1), calls: 240, low: 1e6, high: 1e7 };
  const many = { ...wide, counts: Array(240).fill(1_000), calls: 240_000 };
  assert.ok(bandwidth(many) < bandwidth(wide));
  for (const side of [wide, many, SIDE, { ...SIDE, calls: 0 }]) assert.ok(bandwidth(side) >= 0.02 && bandwidth(side) <= 0.2);
});
