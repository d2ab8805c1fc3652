// The rows of a trace: which spans stand on one, what a pointer or a key means,
// and what a span says. Nothing here draws. Spans come as columns, parents
// before their children, in the order they are drawn.

import { duration, layerSuffix, percent } from './units.js';

/** What belongs together: how many children a span has, where its subtree ends, its sections of the critical path. */
export function index({ depth, parent }, sections) {
  const many = depth.length;
  const children = new Int32Array(many);
  const end = new Int32Array(many).fill(many); // first row after the subtree
  const open = [];
  for (let row = 0; row < many; row += 1) {
    while (open.length && depth[open.at(-1)] >= depth[row]) end[open.pop()] = row;
    if (parent[row] >= 0) children[parent[row]] += 1;
    open.push(row);
  }
  const path = Array.from({ length: many }, () => []);
  sections.row.forEach((of, at) => path[of].push([sections.start[at], sections.end[at]]));
  return { children, end, path };
}

/** Which spans have a row: not those folded away, nor those off the path when only it is asked for. */
export function visible({ end, path }, folded, only) {
  const rows = [];
  for (let row = 0; row < end.length; row += 1) {
    if (!only || path[row].length) rows.push(row);
    if (folded.has(row)) row = end[row] - 1;
  }
  return rows;
}

/** The places of rows in sight, first and end, when so many pixels are scrolled by. */
export function inSight(many, top, high, size) {
  const first = Math.floor(top / size);
  return [first, Math.min(many, first + Math.ceil(high / size) + 1)];
}

/** How far to scroll so that a row is in sight; as far as before when it is. */
export function reveal(at, top, high, size) {
  if (at * size < top) return at * size;
  return high > 0 && (at + 1) * size > top + high ? (at + 1) * size - high : top;
}

/** The span on a row some steps from another's; the first or last where rows end. */
export function step(rows, chosen, by) {
  return rows[Math.max(0, Math.min(rows.length - 1, rows.indexOf(chosen) + by))];
}

/** The spans that folding everything closes: those with children, but the root. */
export function foldable({ children }, depth, rows) {
  return rows.filter((row) => children[row] && depth[row] > 0);
}

/** What a key asks for: [what, with what]; null for a key that asks nothing. */
export function meaning(key) {
  const keys = {
    j: ['step', 1], ArrowDown: ['step', 1], k: ['step', -1], ArrowUp: ['step', -1], Enter: ['choose'],
    '[': ['bracket', true], ']': ['bracket', false], ArrowLeft: ['fold', true], ArrowRight: ['fold', false],
    p: ['only'], Escape: ['whole'],
  };
  return Object.hasOwn(keys, key) ? keys[key] : null;
}

/** What a span says on the pointer, in lines. begin, span: start and length of the trace. */
export function describe(spans, begin, span, row) {
  const { start, end, service, operation, layer, path, marks } = spans;
  return [
    `${service[row]} ${operation[row]}${layerSuffix(layer[row])}`,
    `starts at ${duration(start[row] - begin)} · takes ${duration(end[row] - start[row])}`,
    `on the critical path ${duration(path[row])}, ${percent(path[row] / span)} of the trace`,
    ...marks[row],
  ];
}

/** The same as a row of a table. */
export function line({ start, end, service, operation, depth, path, marks }, begin, row) {
  return [
    `${'\u2003'.repeat(depth[row])}${service[row]} ${operation[row]}`,
    duration(start[row] - begin), duration(end[row] - start[row]), duration(path[row]), marks[row].join(', '),
  ];
}
