// Numbers, names and the marks of axes. That durations are written as on the
// command line is compared by tests/dashboard/test_assets_node.py.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  clock, count, day, duration, layerSuffix, linearTicks, logTicks, percent, roundDuration, timeTicks,
} from '../../tracelens/assets/units.js';

test('a duration has three digits and its unit', () => {
  assert.deepEqual([0, 999, 1_000, 9_994, 9_995, 412_345, 999_499, 999_500, 8_214_999, 99_949_999, 1_234_567_890, 1e13].map(duration), [
    '0 ns', '999 ns', '1.00 µs', '9.99 µs', '10.0 µs', '412 µs', '999 µs', '1.00 ms', '8.21 ms', '99.9 ms', '1.23 s', '10,000 s',
  ]);
  assert.deepEqual([null, undefined, -8_214_999].map(duration), ['–', '–', '-8.21 ms']);
});

test('a round duration has no digits it does not need', () => {
  assert.deepEqual([0, 300, 3e4, 3e7, 1.5e9, 3e10].map(roundDuration), ['0', '300 ns', '30 µs', '30 ms', '1.5 s', '30 s']);
});

test('counts have commas and shares one digit; a share that is something never reads as nothing', () => {
  assert.deepEqual([0, 999, 1_000, 1_234_567].map(count), ['0', '999', '1,000', '1,234,567']);
  assert.deepEqual([0, 0.0004, 0.0314, 1].map(percent), ['0.0 %', '<0.1 %', '3.1 %', '100.0 %']);
});

test('only layers that are not the application are named', () => {
  assert.deepEqual(['', null, 'app', 'egress_proxy', 'network_queueing'].map(layerSuffix), [
    '', '', '', ' · egress proxy', ' · network + queueing',
  ]);
});

test('a logarithmic axis is marked at ones and threes, or as one asks', () => {
  assert.deepEqual(logTicks(2e6, 4e8).map((one) => Math.round(one)), [3e6, 1e7, 3e7, 1e8, 3e8]);
  assert.deepEqual(logTicks(1, 9, [1, 2, 5]), [1, 2, 5]);
  assert.deepEqual(logTicks(4, 9), []);
});

test('a linear axis is cut at round numbers, about as often as asked', () => {
  assert.deepEqual(linearTicks(0, 100, 5), [0, 20, 40, 60, 80, 100]);
  assert.deepEqual(linearTicks(7, 31, 3), [10, 20, 30]);
  assert.ok(linearTicks(0, 0, 4).length <= 1); // and ends
});

test('a time axis is cut on the clock of the viewer', () => {
  const start = Date.UTC(2026, 0, 5, 9, 58, 30); // TZ is UTC: the test sets it
  const { ticks, seconds, days } = timeTicks(start, start + 3_600_000, 6);
  assert.deepEqual(ticks.map((at) => clock(at, false)), ['10:00', '10:10', '10:20', '10:30', '10:40', '10:50']);
  assert.deepEqual([seconds, days], [false, false]);
  assert.equal(timeTicks(start, start + 20_000, 4).seconds, true);
  const week = timeTicks(start, start + 7 * 86_400_000, 7);
  assert.equal(week.days, true);
  assert.equal(day(week.ticks[0]), '6 Jan');
  assert.ok(timeTicks(0, 40 * 365 * 86_400_000, 5).ticks.length > 0); // longer than any step
});
