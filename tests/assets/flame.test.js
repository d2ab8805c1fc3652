// Where the nodes of a flame graph lie, and which of them a pointer or a key means.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changeOf, describe, lay, nameOf, nodeAt, row, seen, towards } from '../../tracelens/assets/flame-layout.js';

//  all ─┬─ cart ── db
//       └─ web, the heavier one, though it comes later
const NODES = {
  parent: [-1, 0, 0, 1], inclusive: [100e6, 30e6, 60e6, 10e6], exclusive: [10e6, 20e6, 60e6, 10e6], calls: [10, 8, 10, 1],
  service: ['', 'cart', 'web', 'db'], operation: ['all calls', 'GET /', 'render', 'q'], layer: ['', 'app', 'egress_proxy', 'app'],
};
const DATA = { nodes: NODES, entries: 10 };
const LAID = lay(NODES);

test('width is the share of the root, and the heaviest child is on the left', () => {
  assert.deepEqual([...LAID.width], [1, 0.3, 0.6, 0.1]);
  assert.deepEqual([...LAID.left], [0, 0.6, 0, 0.6]);
  assert.deepEqual([...LAID.depth], [0, 1, 1, 2]);
  assert.deepEqual(LAID.order, [0, 2, 1, 3]);
  assert.equal(LAID.deepest, 2);
});

test('children lie within their parent and beside each other', () => {
  const parent = Array.from({ length: 400 }, (_, node) => (node ? Math.floor((node - 1) / 3) : -1));
  const inclusive = Array(400).fill(0);
  for (let node = 399; node >= 0; node -= 1) {
    inclusive[node] += 1 + (node * 7919) % 13;
    if (node) inclusive[parent[node]] += inclusive[node];
  }
  const { left, width, children } = lay({ parent, inclusive });
  children.forEach((some, node) => {
    let at = left[node];
    for (const child of some) {
      assert.ok(Math.abs(left[child] - at) < 1e-9);
      at += width[child];
    }
    assert.ok(at <= left[node] + width[node] + 1e-9);
  });
});

test('no nodes, and nodes without time, are no error', () => {
  assert.deepEqual(lay({ parent: [], inclusive: [] }).order, []);
  assert.deepEqual(seen(lay({ parent: [-1, 0], inclusive: [0, 0] }), 0, 500).map(({ node }) => node), [0]);
});

test('a node that fills the width pushes those beside it out, and keeps those above', () => {
  assert.deepEqual(seen(LAID, 0, 1_000).map(({ node }) => node), [0, 2, 1, 3]);
  const zoomed = seen(LAID, 1, 1_000);
  assert.deepEqual(zoomed.map(({ node }) => node), [0, 1, 3]);
  assert.deepEqual(zoomed.slice(0, 2).map(({ left, right }) => [left, Math.round(right)]), [[0, 1_000], [0, 1_000]]);
});

test('a node thinner than half a pixel is not drawn', () => {
  assert.deepEqual(seen(LAID, 0, 4).map(({ node }) => node), [0, 2, 1]);
});

test('a place belongs to the node drawn there', () => {
  const drawn = seen(LAID, 0, 1_000);
  assert.deepEqual([[10, 0], [10, 1], [650, 1], [650, 2], [950, 1], [10, 2], [10, 9]].map(([x, at]) => nodeAt(LAID, drawn, x, at)), [
    0, 2, 1, 3, -1, -1, -1,
  ]);
});

test('keys lead to the heaviest child, the parent, and those beside', () => {
  assert.deepEqual(['ArrowDown', 'j', 'ArrowUp', 'k'].map((key) => towards(LAID, 0, key)), [2, 2, 0, 0]);
  assert.deepEqual([towards(LAID, 2, 'ArrowRight'), towards(LAID, 1, 'ArrowLeft'), towards(LAID, 3, 'k')], [1, 2, 1]);
  assert.deepEqual([towards(LAID, 1, 'ArrowRight'), towards(LAID, 3, 'j')], [1, 3]); // the end: it stays
  for (const key of ['Enter', 'constructor', '__proto__']) assert.equal(towards(LAID, 0, key), null);
});

test('a node says its name, its time on the path and its own', () => {
  assert.equal(nameOf(NODES, 2), 'web render · egress proxy');
  assert.equal(nameOf(NODES, 0), 'all calls');
  assert.deepEqual(describe(DATA, LAID, 3), [
    'db q', '1.00 ms a call on the path · 10.0 %', 'own 1.00 ms', 'on the path of 1 of 10 calls',
  ]);
  assert.deepEqual(row(DATA, LAID, 3), ['\u2003\u2003db q', '1.00 ms', '10.0 %', '1.00 ms', '1']);
});

test('of two sides a node says by how much its own time changed', () => {
  const nodes = { ...NODES, change: [0, -2e6, 5e6, 0] };
  assert.deepEqual([changeOf(nodes, 1), changeOf(nodes, 2)], ['−2.00 ms', '+5.00 ms']);
  assert.equal(describe({ nodes, entries: 10 }, LAID, 2)[3], 'own +5.00 ms against A');
});

test('names are text, whatever they are', () => {
  const nodes = { ...NODES, service: ['', '__proto__', '<b>', 'constructor'], operation: ['', '${1}', '</script>', '\u202e'] };
  assert.equal(nameOf(nodes, 1), '__proto__ ${1}');
  assert.equal(describe({ nodes, entries: 1 }, LAID, 2)[0], '<b> </script> · egress proxy');
});
