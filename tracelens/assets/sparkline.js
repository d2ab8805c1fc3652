// A small line without an axis: the course of one number. A stretch without
// data is a gap, never a zero.

import { element, svg } from './surface.js';

/** values: numbers or null. kind: p50, p90, p99 or errors; it sets the colour. */
export function sparkline(values, kind, { width, height }) {
  const line = course(values, width, height);
  if (!line) return element('span', { class: 'spark' });
  return svg('svg', { class: `spark kind-${kind}`, viewBox: `0 0 ${width} ${height}`, width, height, 'aria-hidden': 'true' }, [
    svg('path', { d: line.path }),
    svg('circle', { cx: line.last.x, cy: line.last.y, r: 2 }),
  ]);
}

/** The line and its last point; null when there are too few numbers for one. */
export function course(values, width, height) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return null;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const inset = 3;
  const x = (at) => inset + (at / (values.length - 1)) * (width - 2 * inset);
  const y = (value) => height - inset - (high > low ? (value - low) / (high - low) : 0.5) * (height - 2 * inset);
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
  return { path, last: { x: x(last), y: y(values[last]) } };
}
