// The pure part of a chart of one's own: where its axis ends, which stretches a
// line is drawn over, what stands under the pointer, and numbers in its unit.

import { count, duration, percent, roundDuration } from './units.js';

/** A rate with three digits, large ones whole. */
function rate(value) {
  return value >= 100 || value === 0 ? count(Math.round(value)) : String(Number(value.toPrecision(3)));
}

const WRITTEN = { duration, share: percent, rate: (value) => `${rate(value)} /s` };
const ROUND = { duration: roundDuration, share: (value) => `${Number((100 * value).toPrecision(3))} %`, rate };

/** A value as the unit `duration`, `share` or `rate` has it; a dash for none. */
export function written(unit, value) {
  return value === null || value === undefined ? '–' : WRITTEN[unit](value);
}

/** A round value, as an axis wants it. */
export function round(unit, value) {
  return ROUND[unit](value);
}

/** The top of the axis: the largest value with some air, or the threshold where that is near. */
export function above(lines, threshold) {
  let most = 0;
  for (const { values } of lines) for (const value of values) most = Math.max(most, value ?? 0);
  const near = threshold !== null && (threshold < 4 * most || most === 0) ? threshold : 0;
  return Math.max(most, near) * 1.08 || 1;
}

/** Stretches without a gap as [first, end) of the values that are known. */
export function runs(values) {
  const found = [];
  let begin = null;
  values.forEach((value, at) => {
    if (value !== null && begin === null) begin = at;
    if (value === null && begin !== null) {
      found.push([begin, at]);
      begin = null;
    }
  });
  if (begin !== null) found.push([begin, values.length]);
  return found;
}

/** The stretch of time at a share of the width; null beside the plot. */
export function nearest(share, points) {
  const at = Math.floor(share * points);
  return at >= 0 && at < points ? at : null;
}
