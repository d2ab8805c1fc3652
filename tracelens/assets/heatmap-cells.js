// The cells of a heatmap: which moment and duration lies where, what a box holds,
// where a key moves it. A box is [first column, end column, first row, end row],
// rows from the lowest latency, ends exclusive. Nothing here draws.

import { clock, count, duration } from './units.js';

export function rowOf({ low_nano: low, high_nano: high, rows }, nano) {
  return (Math.log(nano / low) / Math.log(high / low)) * rows;
}

export function nanoOf({ low_nano: low, high_nano: high, rows }, row) {
  return low * (high / low) ** (row / rows);
}

export function columnOf({ start_ms: start, end_ms: end, columns }, milliseconds) {
  return ((milliseconds - start) / (end - start)) * columns;
}

export function millisecondsOf({ start_ms: start, end_ms: end, columns }, column) {
  return start + (column / columns) * (end - start);
}

/** The cell at a place of the plot, both ways a share of its size; beyond the plot, the nearest. */
export function cellAt({ columns, rows }, right, down) {
  return { column: within(Math.floor(right * columns), 0, columns - 1), row: within(Math.floor((1 - down) * rows), 0, rows - 1) };
}

/** The box from one cell to another, whichever way it was drawn. */
export function boxOf(from, to) {
  return [
    Math.min(from.column, to.column), Math.max(from.column, to.column) + 1,
    Math.min(from.row, to.row), Math.max(from.row, to.row) + 1,
  ];
}

export function callsIn({ columns, counts }, [left, right, low, high]) {
  let calls = 0;
  for (let row = low; row < high; row += 1) {
    for (let column = left; column < right; column += 1) calls += counts[row * columns + column];
  }
  return calls;
}

/** What a box is, in lines. */
export function describe(grid, box) {
  const [left, right, low, high] = box;
  const calls = callsIn(grid, box);
  return [
    `${count(calls)} call${calls === 1 ? '' : 's'}`,
    `${duration(nanoOf(grid, low))} – ${duration(nanoOf(grid, high))}`,
    `${clock(millisecondsOf(grid, left))} – ${clock(millisecondsOf(grid, right))}`,
  ];
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** Where an arrow key moves a box: all of it, or its far corner alone; null for another key. It stays within the grid. */
export function moved({ columns, rows }, [left, right, low, high], key, corner) {
  if (!Object.hasOwn(ARROWS, key)) return null;
  const step = ARROWS[key];
  if (corner) return [left, within(right + step[0], left + 1, columns), low, within(high + step[1], low + 1, rows)];
  const across = within(step[0], -left, columns - right);
  const up = within(step[1], -low, rows - high);
  return [left + across, right + across, low + up, high + up];
}

function within(value, least, most) {
  return Math.max(least, Math.min(most, value));
}
