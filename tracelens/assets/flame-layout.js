// Where the nodes of a flame graph lie, which of them a pointer or a key means,
// and what they say. Nothing here draws. Nodes come as columns, the root first,
// parents before their children.

import { count, duration, layerSuffix, percent } from './units.js';

const THIN = 0.5; // pixels: a narrower node is not drawn

/** Place every node: left edge and width as a share of the root's, the heaviest child on the left. */
export function lay({ parent, inclusive }) {
  const children = parent.map(() => []);
  parent.forEach((above, node) => {
    if (above >= 0) children[above].push(node);
  });
  for (const some of children) some.sort((a, b) => inclusive[b] - inclusive[a]);
  const left = new Float64Array(parent.length);
  const width = new Float64Array(parent.length);
  const depth = new Int32Array(parent.length);
  const order = [];
  width[0] = 1;
  const stack = parent.length ? [0] : [];
  while (stack.length) {
    const node = stack.pop();
    order.push(node);
    let at = left[node];
    for (const child of children[node]) {
      left[child] = at;
      width[child] = inclusive[0] ? inclusive[child] / inclusive[0] : 0;
      depth[child] = depth[node] + 1;
      at += width[child];
    }
    stack.push(...[...children[node]].reverse());
  }
  const deepest = order.reduce((most, node) => Math.max(most, depth[node]), 0);
  return { parent, children, left, width, depth, order, deepest };
}

/** The nodes to draw when one fills the width, in pixels; too thin ones are left out. */
export function seen({ left, width, order }, zoomed, wide) {
  const [from, share] = [left[zoomed], width[zoomed] || 1];
  const pixels = (place) => ((place - from) / share) * wide;
  return order
    .map((node) => ({ node, left: Math.max(0, pixels(left[node])), right: Math.min(wide, pixels(left[node] + width[node])) }))
    .filter((one) => one.right - one.left >= THIN);
}

/** The drawn node at a place; −1 where there is none. */
export function nodeAt({ depth }, drawn, x, row) {
  return drawn.find(({ node, left, right }) => depth[node] === row && x >= left && x < right)?.node ?? -1;
}

/** The node that a key leads to from another: itself where there is none that way, null for another key. */
export function towards({ parent, children }, current, key) {
  const siblings = children[parent[current]] ?? [current];
  const beside = (step) => siblings[siblings.indexOf(current) + step];
  const ways = {
    ArrowDown: children[current]?.[0], j: children[current]?.[0],
    ArrowUp: parent[current], k: parent[current],
    ArrowLeft: beside(-1), ArrowRight: beside(1),
  };
  if (!Object.hasOwn(ways, key)) return null;
  return ways[key] >= 0 ? ways[key] : current;
}

export function nameOf({ service, operation, layer }, node) {
  return service[node] ? `${service[node]} ${operation[node]}${layerSuffix(layer[node])}` : operation[node];
}

export function changeOf({ change }, node) {
  return `${change[node] < 0 ? '−' : '+'}${duration(Math.abs(change[node]))}`;
}

/** What a node says on the pointer, in lines. */
export function describe({ nodes, entries }, { width }, node) {
  const { inclusive, exclusive, calls, change } = nodes;
  return [
    nameOf(nodes, node),
    `${duration(inclusive[node] / entries)} a call on the path · ${percent(width[node])}`,
    `own ${duration(exclusive[node] / entries)}`,
    change ? `own ${changeOf(nodes, node)} against A` : `on the path of ${count(calls[node])} of ${count(entries)} calls`,
  ];
}

/** The same as a row of a table. */
export function row({ nodes, entries }, { width, depth }, node) {
  const { inclusive, exclusive, calls, change } = nodes;
  return [
    `${'\u2003'.repeat(depth[node])}${nameOf(nodes, node)}`,
    duration(inclusive[node] / entries), percent(width[node]),
    duration(exclusive[node] / entries), change ? changeOf(nodes, node) : count(calls[node]),
  ];
}
