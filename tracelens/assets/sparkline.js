// A small line without an axis: the course of one number. A stretch without
// data is a gap, never a zero.

import { element, svg } from './surface.js';

/** values: numbers or null. kind: p50, p90, p99 or errors; it sets the colour. */
export function sparkline(values, kind, { width, height }) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return element('span', { class: 'spark' });
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const inset = 3;
  const x = (at) => inset + (at / (values.length - 1)) * (width - 2 * inset);
  const y = (value) => height - inset - ((value - low) / (high - low || 1)) * (height - 2 * inset) * (high > low ? 1 : 0.5);
  let path = '';
  let pen = false;
  values.forEach((value, at) => {
    if (value === null) pen = false;
    else {
      path += `${pen ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = true;
    }
  });
  const last = values.findLastIndex((value) => value !== null);
  return svg('svg', { class: `spark kind-${kind}`, viewBox: `0 0 ${width} ${height}`, width, height, 'aria-hidden': 'true' }, [
    svg('path', { d: path }),
    svg('circle', { cx: x(last), cy: y(values[last]), r: 2 }),
  ]);
}
